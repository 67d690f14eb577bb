"""A node at one moment, for everything that shows it."""

from p2pgan.protocol.statistics import PeerMachineStatistics, PeerStatistics, ScoreStatistics

STATISTICS = PeerMachineStatistics(
    node="A", run="run", phase="training", round=3, iterations=60, iterations_total=100, clock=9,
    unacknowledged=1, waiting=2, held_bytes=0, lonely_rounds=0, refusals=0, strangers=0,
    malformed=4, save_problem="no room", members=None, is_paused=False, is_degraded=False,
    scores=ScoreStatistics(round=2, iterations=40, fid=9.5, ms=4.0, samples=10),
    peers=tuple(
        PeerStatistics(peer=peer, state=state, greeted_us=True, faults=0, sent=5, sent_bytes=50,
                       received=3, received_bytes=30, mixed=2, judged=4, dropped=1)
        for peer, state in (("B", "ready"), ("C", "left"))
    ),
)  # fmt: skip
