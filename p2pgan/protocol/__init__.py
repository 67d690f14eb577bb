"""What a node says and decides: messages, wire format and the peer machine, without any I/O.

Bytes are split and joined by `wire` and `chunks`; `peer.PeerMachine` takes events (`events`) and
returns instructions (`instructions`) that a shell carries out. Nothing here opens a socket, reads a
clock, starts a thread or draws a number: time is an argument, draws are functions handed in.
"""
