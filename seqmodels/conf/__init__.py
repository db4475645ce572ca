"""The configs as other Hydra applications find them: `pkg://seqmodels.conf` has the groups `seqmodels/model` and so on.

Hydra looks for a package here. Its only folder is `seqmodels`: the files of conf/ in an installed package, a link to
them in a checkout. The folder's name is the first part of the groups' names, so that they do not mix with groups of the
application. See conf/README.md.
"""
