"""Stores in buckets: a copy on this machine is pulled, read and written like any store, and pushed.

mark      which folders are copies of stores in buckets
copies    the copy of a store on this machine: pulled, verified, and kept while the bucket is away
listing   the files of a generation, and their names in the bucket, which are those of their contents
digests   the SHA-256 of files that were read before
lease     the one writer: LOCK and CURRENT
work      what workers of a cluster have put there, and nobody has published
pushing   what a writer puts into the bucket, and what nobody uses there any more
"""
