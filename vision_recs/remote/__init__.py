"""Images and files that are not on this machine.

addresses   which references are addresses
options     how images are fetched
images      the source of images at addresses, by scheme
web         images from web servers, politely and safely
hosts       how much is asked of one host, and when: pace, pauses, patience
robots      what the robots.txt of a host allows
connection  connections to web servers: kept open, pinned to an address, with deadlines
guard       which addresses are public, and what a name resolves to
"""
