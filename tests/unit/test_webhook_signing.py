"""Signatures: checked against the scheme's published example, and whatever zone the clock is in."""

import base64
from datetime import UTC, datetime, timedelta, timezone

from orchestrator.webhooks.signing import new_secret, signed_headers

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BODY = b'{"test": 2432232314}'
AT = datetime.fromtimestamp(1_614_265_330, UTC)


def test_the_published_example_comes_out():
    """From the test vectors of the Standard Webhooks libraries."""
    assert signed_headers("msg_p5jXN8AQM9LWM0D4loKWxJek", BODY, [SECRET], AT) == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_the_zone_of_the_clock_does_not_matter():
    elsewhere = AT.astimezone(timezone(timedelta(hours=9)))
    assert signed_headers("msg", BODY, [SECRET], elsewhere) == signed_headers("msg", BODY, [SECRET], AT)


def test_secrets_are_256_random_bits():
    one, other = new_secret(), new_secret()
    assert one != other
    assert len(base64.b64decode(one.removeprefix("whsec_"), validate=True)) == 32
