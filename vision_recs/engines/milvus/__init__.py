"""Milvus: a server, a cluster, or a file of Milvus Lite. It has no versions, so a record says which ones it is part of.

Every publication of changes has a serial number. A record is written with the serial in which it was `born`; where a
later one replaces or removes it, that serial is written as the one in which it `died`. Readers of a serial ask for
what was born by then and had not died: they see nothing of the next one, and a switch or a way back writes no record.

engine     `MilvusEngine`, and the collections of each space
stage      the records of the next serial
state      what is kept of a collection, and how long readers may use what was given up
table      the records of one serial, as readers see them
documents  documents, in parts
rows       what a record is in Milvus, where nothing is null
dialect    how Milvus writes a condition
client     the connection; errors of the client become ours
address    URIs, and the server of a file
"""
