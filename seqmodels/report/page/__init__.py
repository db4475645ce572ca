"""HTML pages that show a run or a comparison, each in one self-contained file.

The templates lie beside the modules that fill them. Text from files is escaped. The only script of a page is the few
lines that sort a table, and a Content Security Policy in the page makes the browser refuse any other.
"""
