"""The one reader of rows: files in, Drafts out. The import, training and evaluation all read through it.

files -> rows with line numbers -> a Shape's Drafts. Needs neither torch nor Django.
"""
