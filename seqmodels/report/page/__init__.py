"""Pages of HTML, one file each, that show a run or a comparison; they load nothing from anywhere.

The templates are beside the modules that fill them. What comes from a file is escaped, and a page runs no script but
the few lines that sort a table; a Content Security Policy in the page says the same to the browser.
"""
