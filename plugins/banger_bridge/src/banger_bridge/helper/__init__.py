"""The part that needs CAP_NET_ADMIN: a few named operations whose every argument is checked.

A program of its own, standard library only, so that it can be granted and audited by itself. It
is asked by its one argument, the operation's name, and by a JSON object on stdin, and answers with
a JSON object. It makes, on a bridge and in tables of nftables that are banger's own, only what
follows from its arguments, and no text of its caller's ever becomes part of a rule.
"""
