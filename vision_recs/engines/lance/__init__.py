"""LanceDB: tables in a folder or in a bucket.

engine      `LanceEngine`: the documents, and the tables of each space
connection  the tables at a URI, and the errors of LanceDB
documents   small files, by name, in a table
stage       the records of the next generation
table       the records of one generation, as readers see them
versions    which versions stay
"""
