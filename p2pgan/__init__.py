"""p2pgan: one generative model of everybody's data, by gossip between peers."""

__version__ = "0.1.0"
