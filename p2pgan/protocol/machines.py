"""The machine of a node, by what the node is told."""

from p2pgan.protocol.core import NodeSettings, Settings
from p2pgan.protocol.federated_coordinator import FederatedCoordinator
from p2pgan.protocol.federated_worker import FederatedWorker
from p2pgan.protocol.machine import Machine
from p2pgan.protocol.peer import PeerMachine
from p2pgan.protocol.roles import CoordinatorSettings, Federated, WorkerSettings
from p2pgan.protocol.split_coordinator import SplitCoordinator
from p2pgan.protocol.split_worker import SplitWorker


def machine_of(settings: NodeSettings) -> Machine:
    """The machine of a peer, a coordinator or a worker."""
    match settings:
        case CoordinatorSettings():
            is_federated = isinstance(settings.system, Federated)
            return FederatedCoordinator(settings) if is_federated else SplitCoordinator(settings)
        case WorkerSettings():
            is_federated = isinstance(settings.system, Federated)
            return FederatedWorker(settings) if is_federated else SplitWorker(settings)
        case Settings():
            return PeerMachine(settings)
    raise AssertionError(f"settings without a machine: {type(settings).__name__}")
