"""What real stores hold besides: rows cut off by a crash, histories cut by hand, inputs that were never answered."""

from __future__ import annotations

from collections.abc import Iterator

from sessionctl.demo.script import Script, Use


def scripts() -> Iterator[Script]:
    yield _torn_row()
    yield _cut_by_hand()
    yield _never_answered()
    yield _taken_back()


def _torn_row() -> Script:
    """An import of the application's own wrote half a row; the SDK skips it silently."""
    return (
        Script("user-103:order-help", "1d22h")
        .user("my parcel was open when it came and the needles are gone")
        .uses(Use("get_order", {"order": 4433}, {"order": 4433, "insured": True}))
        .says("I am sorry! The parcel was insured. Could you send a photo of it?")
        .tears('{"role": "user", "content": [{"type": "input_text", "text": "here is the pho')
        .user("did you get my photo?", wait="3h15m")
        .says("No photo has reached me. Could you send it once more?")
    )


def _cut_by_hand() -> Script:
    """Somebody's clean-up kept the newest rows and cut between a call and its output: the model will refuse this."""
    orphan = {"call_id": "call_cut_off", "output": '{"order": 4105, "status": "lost"}', "type": "function_call_output"}
    return (
        Script("user-19:lost-parcel", "22h")
        .raw(orphan)
        .says("Order 4105 is lost, I have asked the carrier to search for it.")
        .user("any news?", wait="1d4h")
    )


def _never_answered() -> Script:
    """The run failed before the model answered, and left its input behind."""
    return Script("user-104:hello", "55d").user("hi, is anybody there?")


def _taken_back() -> Script:
    """The application took the only input back: a session without items stays."""
    return Script("user-105:hello", "62d").user("never mind").withdraws()
