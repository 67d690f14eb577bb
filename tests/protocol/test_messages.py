"""The union is closed and every message can be told from every other."""

from typing import get_args

from p2pgan.protocol.messages import Message, RefusalCode
from p2pgan.protocol.wire import decode, encode


def test_every_message_has_its_own_tag() -> None:
    tags = [message.__struct_config__.tag for message in get_args(Message)]
    assert len(set(tags)) == len(tags) == 24


def test_messages_cannot_be_changed() -> None:
    assert all(message.__struct_config__.frozen for message in get_args(Message))


def test_refusal_codes_travel() -> None:
    from p2pgan.protocol.messages import Refuse

    for code in get_args(RefusalCode):
        refuse = Refuse(clock=0, node="A", code=code, text="why")
        assert decode(encode(refuse))[0] == refuse
