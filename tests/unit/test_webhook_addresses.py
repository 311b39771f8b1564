"""What a tenant's URL may lead to, with a resolver that says what the test wants."""

import asyncio

import pytest

from orchestrator.webhooks.addresses import EgressPolicy, ForbiddenUrl

INTERNET = EgressPolicy()
PRIVATE = [
    "127.0.0.1",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "0.0.0.0",
    "224.0.0.1",
    "255.255.255.255",
    "192.0.2.1",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fec0::1",
    "ff02::1",
    "2001:db8::1",
    "::ffff:10.0.0.1",
    "::ffff:169.254.169.254",
    "::7f00:1",
    "64:ff9b::a9fe:a9fe",
    "2002:7f00:1::",
]
PUBLIC = ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]


def looked_up(egress: EgressPolicy, *answers: str) -> list[str]:
    async def resolve(host: str, port: int) -> list[str]:
        assert (host, port) == ("hooks.example", 443)
        return list(answers)

    return asyncio.run(egress.addresses("hooks.example", 443, resolve))


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_our_network_is_refused_without_naming_the_address(address: str):
    with pytest.raises(ForbiddenUrl, match="private") as refused:
        looked_up(INTERNET, address)
    assert address not in str(refused.value)


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_on_the_internet_is_accepted(address: str):
    assert looked_up(INTERNET, address, address) == [address]


def test_one_private_address_among_public_ones_condemns_the_name():
    with pytest.raises(ForbiddenUrl):
        looked_up(INTERNET, PUBLIC[0], "10.0.0.1")


def test_a_name_without_an_address_is_an_error_of_the_network():
    with pytest.raises(OSError, match="no address"):
        looked_up(INTERNET)


def test_a_setting_lets_private_addresses_through():
    assert looked_up(EgressPolicy(allow_private=True), "127.0.0.1", "::1") == ["127.0.0.1", "::1"]


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://hooks.example/", "https://"),
        ("ftp://hooks.example/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("hooks.example", "https://"),
        ("https:///path", "no host"),
        ("https://user@hooks.example/", "user name"),
        ("https://hooks.example/#part", "fragment"),
        ("https://hooks.example:99999/", "cannot be parsed"),
        ("https://[::1/", "cannot be parsed"),
        ("https://127.0.0.1/", "private"),
        ("https://[::ffff:127.0.0.1]:8443/", "private"),
        ("https://hooks.example/a b", "percent-encoded"),
        ("https://hööks.example/", "punycode"),
        ("https://hooks.example\\@127.0.0.1/", "percent-encoded"),
        ("https://hooks.example/" + "x" * 2_048, "at most 2048"),
    ],
)
def test_a_url_is_refused_by_its_looks_with_the_reason(url: str, why: str):
    with pytest.raises(ForbiddenUrl, match=why):
        INTERNET.check_url(url)


def test_good_urls_pass_and_http_only_where_it_is_allowed():
    INTERNET.check_url("https://hooks.example:8443/path?query=1")
    INTERNET.check_url("https://xn--hks-1na.example/")
    EgressPolicy(allow_http=True).check_url("http://hooks.example/")
