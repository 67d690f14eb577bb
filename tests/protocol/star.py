"""A party with a coordinator and workers, who are neighbors of each other as well."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from p2pgan.protocol import events as ev
from p2pgan.protocol import instructions as do
from p2pgan.protocol.core import NodeSettings
from p2pgan.protocol.links import Identity
from p2pgan.protocol.roles import (
    CoordinatorSettings,
    Federated,
    Placing,
    Selection,
    Split,
    WorkerSettings,
)
from tests.protocol.party import Connection, Member, Party

MODEL_BYTES = 32
BATCHES_BYTES = 24
FEEDBACK_BYTES = 12


def words(*values: float) -> bytes:
    return np.array(values, np.float32).tobytes()


class Star(Party):
    """A coordinator with workers, who are neighbors of each other as well."""

    def __init__(
        self,
        workers: int,
        system: str,
        *,
        slots: int = 0,
        seed: int = 0,
        rule: dict[str, Any] | None = None,
        overrides: dict[str, dict[str, Any]] | None = None,
        work_s: dict[type, float] | None = None,
        slower: dict[str, float] | None = None,
        **common: Any,
    ) -> None:
        self._reset(seed)
        self.work_s, self.slower = work_s or {}, slower or {}
        self.names = [f"w{index}" for index in range(workers)]
        self.slots = slots or workers
        self.system: Any = Federated(model_bytes=MODEL_BYTES)
        if system != "fl":
            self.system = Split(
                batches_bytes=BATCHES_BYTES,
                feedback_bytes=FEEDBACK_BYTES,
                move_bytes=(12,) * self.slots,
                is_asynchronous=system == "async",
            )
        self.rule = rule or {}
        self.common = {"iterations": 6, "exchange_every": 2, **common}
        self.overrides = overrides or {}
        self.feedback: dict[str, bytes] = {}
        """What workers say in place of feedback."""
        self.boots = 0
        self.killed: set[str] = set()
        self.past: list[tuple[str, Member]] = []
        """Members that were started again since."""
        for node in ["coordinator", *self.names]:
            self.members[node] = Member(self._settings(node))
        for a in self.members:
            for b in self.members:
                if a != b:
                    self.connections[a, b] = Connection(a, b)

    def _settings(self, node: str, state: bytes = b"") -> NodeSettings:
        self.boots += 1
        architecture = self.overrides.get(node, {}).pop("architecture", "same")
        identity = Identity(
            node=node, run="run", architecture=architecture, boot=f"{self.boots:08d}-{node}"
        )
        common = {"system": self.system, **self.common, **self.overrides.get(node, {})}
        if node != "coordinator":
            for name in ("deadline", "lost_after_s", "checkpoint_every", "is_scored"):
                common.pop(name, None)
            others = tuple(name for name in self.names if name != node)
            return WorkerSettings(
                identity=identity,
                neighbors=("coordinator", *others),
                coordinator="coordinator",
                **common,
            )
        return CoordinatorSettings(
            identity=identity,
            neighbors=tuple(self.names),
            rule=self._rule(),
            state=state,
            is_again=bool(state),
            **common,
        )

    def _rule(self) -> Selection | Placing:
        if isinstance(self.system, Federated):
            return Selection(**{"select": lambda ready, round_: (ready, len(ready)), **self.rule})
        choices: dict[str, Any] = {
            "first": dict(enumerate(self.names[: self.slots])),
            "replacement": self._replacement,
            "moved": self._moved,
        }
        return Placing(**{**choices, **self.rule})

    def _moved(self, places: Any, workers: Sequence[str]) -> dict[int, str]:
        chosen = self.rng.choice(len(workers), len(places), replace=False).tolist()
        return {slot: workers[index] for slot, index in zip(sorted(places), chosen, strict=True)}

    def _replacement(self, slot: int, places: Any, workers: Sequence[str]) -> Any:
        idle = [worker for worker in workers if worker not in places.values()]
        assert slot not in places
        source = min(places) if places else None
        return (source, idle[0]) if idle else None

    # -- what goes wrong ---------------------------------------------------------------------------

    def kill(self, node: str) -> None:
        """Without a word."""
        self.killed.add(node)
        member = self.members[node]
        member.close = do.Close(reason="killed")
        member.work = None
        member.timers.clear()
        for connection in self.connections.values():
            if connection.is_up and node in (connection.caller, connection.callee):
                connection.cut()
                if connection.callee == node:
                    self.tell(connection.caller, ev.LinkDown(peer=node))

    def restart(self, node: str, state: bytes = b"") -> None:
        """Starts a node again that was killed or has ended."""
        self.past.append((node, self.members[node]))
        self.members[node] = Member(self._settings(node, state))
        for connection in self.connections.values():
            if connection.is_up and node in (connection.caller, connection.callee):
                connection.cut()
                if node == connection.callee:
                    self.tell(connection.caller, ev.LinkDown(peer=node))
        self.tell(node, ev.Started())

    # -- work --------------------------------------------------------------------------------------

    def _finish_other(self, node: str, member: Member, work: Any) -> None:
        match work:
            case do.Average():
                share = 1 / len(work.updates)
                member.mixed += [update.exchange for update in work.updates]
                weights = tuple((update.exchange, share) for update in work.updates)
                self.tell(node, ev.AveragingDone(weights=weights))
            case do.Generate():
                member.generated |= dict.fromkeys(work.slots, work.iteration)
                member.served.append(work.slots)
                batches = tuple(words(work.iteration, slot, 0, 0, 0, 0) for slot in work.slots)
                self.tell(node, ev.Generated(payloads=batches))
            case do.Learn():
                for told in work.feedback:
                    iteration, slot, _ = np.frombuffer(told.data, np.float32)
                    assert (iteration, slot) == (work.iteration, told.slot)
                    assert member.generated[told.slot] == work.iteration, "of batches long gone"
                slots = tuple(told.slot for told in work.feedback)
                member.learned.append((work.iteration, slots))
                self.tell(node, ev.LearningDone())
            case do.MakeDiscriminator():
                member.slot = work.slot
                self.tell(node, ev.DiscriminatorReady())
            case do.TakeDiscriminator():
                member.slot = work.arrival.slot
                member.mixed.append(work.arrival.exchange)
                self.tell(node, ev.DiscriminatorReady())
            case do.Criticise():
                iteration, slot = np.frombuffer(work.arrival.data, np.float32)[:2]
                assert slot == work.arrival.slot == member.slot
                data = self.feedback.get(node, words(iteration, slot, 0))
                self.tell(node, ev.CriticismDone(data=data, loss_g=1.0, loss_d=2.0, train_s=0.1))
            case do.Pack():
                is_model = isinstance(self.system, Federated)
                settings: Any = member.settings
                model_bytes = settings.system.model_bytes if is_model else 0
                data = bytes(model_bytes) if is_model else words(1, 2, 3)
                self.tell(node, ev.Packed(data=data, number=7))
            case _:
                raise AssertionError(f"no such work: {work}")

    # -- checks ------------------------------------------------------------------------------------

    @property
    def coordinator(self) -> Member:
        return self.members["coordinator"]

    def logged(self, kind: str) -> list[tuple[str, dict[str, Any]]]:
        everybody = [*self.past, *self.members.items()]
        return [(node, fields) for node, member in everybody for fields in member.kinds(kind)]

    def check_accounts(self) -> None:
        """As among peers, but that the dead do not end their accounts."""
        quiet = ("batches", "feedback")
        sent = {fields["exchange"]: (node, fields) for node, fields in self.logged("vector_sent")}
        assert len(sent) == len(self.logged("vector_sent")), "an exchange id was used twice"
        received = [fields["exchange"] for _, fields in self.logged("vector_received")]
        assert len(received) == len({*received}), "a vector was received twice"
        losses = self.logged("vector_dropped")
        dropped = [f["exchange"] for _, f in losses if f["purpose"] not in quiet]
        dead = {exchange for exchange, (node, _) in sent.items() if node in self.killed}
        assert {*sent} - dead <= {*received, *dropped}, "a vector is unaccounted for"
        assert {*received, *dropped} <= {*sent}, "a vector came from nowhere"
        for node, fields in self.logged("vector_received"):
            sender, told = sent[fields["exchange"]]
            assert (fields["peer"], told["peer"]) == (sender, node)
            assert all(fields[n] == told[n] for n in ("round", "nets", "bytes", "purpose"))
        for node, member in [*self.past, *self.members.items()]:
            if node in self.killed:
                continue
            own = [f["exchange"] for f in member.kinds("vector_received")]
            mixed = [f["exchange"] for f in member.kinds("vector_mixed")]
            let_go = [f["exchange"] for f in member.kinds("vector_dropped") if f["peer"] != node]
            ends = mixed + [exchange for exchange in let_go if exchange in own]
            assert sorted(ends) == sorted(own), "what was received has no end, or two"
