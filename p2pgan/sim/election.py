"""The nodes of a lockstep run agree on the best pair (`final = "agree"`).

Every rank plays the whole election, which is cheap, and judges for its own nodes. Pairs stay where
they are until the end: what a node holds is the index of its origin.
"""

from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor

from p2pgan.experiment import Experiment
from p2pgan.mixing.agreement import WORST, Schedule, Stage, Voter
from p2pgan.mixing.draws import Arrivals
from p2pgan.sim.exchange_log import Entry, ExchangeLog
from p2pgan.sim.shares import Shares


class Election:
    """All voters, and what they have been told."""

    def __init__(
        self, experiment: Experiment, shares: Shares, generators_OP: Tensor, schedule: Schedule
    ) -> None:
        """Before the first round.

        Args:
            experiment: what was run.
            shares: which nodes are judges here.
            generators_OP: their generators; nobody changes them before the election is over.
            schedule: its rounds.
        """
        self._experiment, self._shares, self._generators_OP = experiment, shares, generators_OP
        self._schedule = schedule
        self._voters = [Voter(node) for node in experiment.nodes]
        self._index = {node: index for index, node in enumerate(experiment.nodes)}

    def play(self, round_: int, arrivals: Arrivals, log: ExchangeLog) -> Iterator[Entry]:
        """One round, and its records.

        Args:
            round_: of the election, from 1.
            arrivals: who hears from whom.
            log: makes the records.
        """
        stage = self._schedule.stage(round_)
        books = [voter.book.copy() for voter in self._voters]  # as they are when all send
        choices = [voter.choice for voter in self._voters] if stage is Stage.SPREADING else []
        if stage is not Stage.JUDGING:  # pairs go alone then, as between daemons
            for receiver, sources in enumerate(arrivals):
                for source in sources:
                    self._voters[receiver].book.merge(books[source])
        match stage:
            case Stage.JUDGING:
                yield from self._judge(arrivals, log)
            case Stage.SPREADING:
                for receiver, sources in enumerate(arrivals):
                    yield from self._spread(receiver, sources, choices, log)

    def origins(self) -> list[int]:
        """For every node, the index of the one whose pair it adopts."""
        return [self._index[voter.choice] for voter in self._voters]

    def voters(self) -> Sequence[Voter]:
        """All voters, in node order."""
        return self._voters

    def _judge(self, arrivals: Arrivals, log: ExchangeLog) -> Iterator[Entry]:
        scores = self._scores(arrivals)
        for receiver, sources in enumerate(arrivals):
            voter = self._voters[receiver]
            for source, score in zip(sources, scores[receiver], strict=False):
                origin = self._experiment.nodes[source]
                if voter.may_judge(origin):
                    voter.judged(origin, score)
                    yield from log.judged(source, receiver, score)
                else:
                    yield from log.dropped(source, receiver, "judged before", "judge")

    def _scores(self, arrivals: Arrivals) -> np.ndarray:
        """What each node's arrivals are worth to it, `(N, K)`; 0 where nothing has to be judged."""
        most = max(map(len, arrivals))
        nodes, own = self._experiment.nodes, self._shares.own
        scores_OK = np.zeros((len(own), most))
        for k in range(most):
            sources_N = [
                sources[k] if k < len(sources) else node for node, sources in enumerate(arrivals)
            ]
            fetched = self._shares.fetch(sources_N, self._generators_OP)
            for place, node in enumerate(own):
                if self._voters[node].may_judge(nodes[sources_N[node]]):
                    vector_P = fetched[place]
                    scores_OK[place, k] = min(WORST, self._experiment.judge(vector_P, nodes[node]))
        return self._shares.gather(scores_OK)

    def _spread(
        self, receiver: int, sources: Sequence[int], choices: Sequence[str], log: ExchangeLog
    ) -> Iterator[Entry]:
        voter = self._voters[receiver]
        for source in sorted(sources, key=lambda source: voter.merit(choices[source])):
            if voter.is_better(choices[source]):
                voter.keep(choices[source])
                yield from log.adopted(source, receiver)
            else:
                yield from log.dropped(source, receiver, "not better", "adopt")
