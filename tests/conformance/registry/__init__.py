"""Cases of the distribution specification's conformance suite, in words of our own: each is a function that
is given a client of a repository of its own.
"""
