"""What a tenant's URL may lead to."""

from ipaddress import ip_network

import pytest

from orchestrator.webhooks.addresses import EgressPolicy, ForbiddenUrl
from orchestrator.webhooks.special_ranges import CLOUDS_V4, SPECIAL_V4, SPECIAL_V6, is_public

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
    "2002:5db8:d822::1",
    "2001:0:5db8:d822::1",
    "192.0.0.192",
    "192.0.0.9",
    "192.0.0.10",
    "168.63.129.16",
    "166.9.48.86",
    "192.88.99.1",
    "192.31.196.1",
    "198.19.255.255",
    "240.0.0.1",
    "3fff::1",
    "3fff:fff:ffff::1",
    "5f00::1",
    "64:ff9b:1::1",
    "100::1",
    "100:0:0:1::1",
    "2001:2::1",
    "2001:30::1",
    "2620:4f:8000::1",
    "4000::1",
    "::ffff:168.63.129.16",
    "64:ff9b::c000:c0",
    "2606:2800::5efe:10.0.0.1",
    "2606:2800::200:5efe:127.0.0.1",
]
PUBLIC = [
    "93.184.216.34",
    "192.0.1.1",
    "168.63.129.17",
    "100.128.0.1",
    "2606:2800:220:1:248:1893:25c8:1946",
    "2001:200::1",
    "3ffe:ffff::1",
    "::ffff:93.184.216.34",
    "64:ff9b::5db8:d822",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_into_our_network_is_refused_without_naming_the_address(address: str):
    with pytest.raises(ForbiddenUrl, match="private") as refused:
        INTERNET.checked([address])
    assert address not in str(refused.value)


@pytest.mark.parametrize("block", [*SPECIAL_V4, *CLOUDS_V4, *SPECIAL_V6])
def test_a_special_range_is_refused_from_its_first_address_to_its_last(block: str):
    network = ip_network(block)
    for address in (network[0], network[-1]):
        with pytest.raises(ForbiddenUrl, match="private"):
            INTERNET.check_address(address)


def test_whatever_this_python_knows_to_be_no_public_address_is_refused():
    """Its table may be older or newer than ours; it must have nothing that ours lacks, at any block's edge."""
    edges = {network[n] for network in map(ip_network, [*SPECIAL_V4, *SPECIAL_V6]) for n in (0, -1)}
    near = {type(edge)(int(edge) + step) for edge in edges for step in (-1, 0, 1) if 0 < int(edge) < 2**32 - 1}
    for address in near:
        if not address.is_global or address.is_multicast or address.is_reserved:
            assert not is_public(address), address


@pytest.mark.parametrize("address", PUBLIC)
def test_a_name_on_the_internet_is_accepted(address: str):
    assert INTERNET.checked([address, address]) == [address]


def test_one_private_address_among_public_ones_condemns_the_name():
    with pytest.raises(ForbiddenUrl):
        INTERNET.checked([PUBLIC[0], "10.0.0.1"])


def test_a_setting_lets_private_addresses_through():
    assert EgressPolicy(allow_private=True).checked(["127.0.0.1", "::1"]) == ["127.0.0.1", "::1"]


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
        ("https://hooks.example:0/", "port"),
        ("https://hooks.example./", "end with a dot"),
        ("https://127.0.0.1./", "end with a dot"),
        ("https://127%2e0%2e0%2e1/", "percent-encoded"),
        ("https://%6cocalhost/", "percent-encoded"),
        ("https://[fe80::1%25eth0]/", "percent-encoded|cannot be parsed"),
        ("https://2130706433/", "is a number"),
        ("https://0x7f000001/", "is a number"),
        ("https://0x7f.1/", "is a number"),
        ("https://0177.0.0.1/", "is a number"),
        ("https://127.1/", "is a number"),
        ("https://127.0.0.0x1/", "is a number"),
        ("https://hooks.0x/", "is a number"),
        ("https://[::ffff:7f00:1]/", "private"),
        ("https://[::127.0.0.1]/", "private"),
        ("https://[64:ff9b::127.0.0.1]/", "private"),
        ("https://[v1.hooks.example]/", "IPv6"),
        ("https://168.63.129.16/metadata", "private"),
        ("https://localhost/", "must have a dot"),
        ("https://postgres:5432/", "must have a dot"),
        ("https://hooks..example/", "DNS name"),
        ("https://-hooks.example/", "DNS name"),
        ("https://hooks.example,evil.example/", "DNS name"),
        (f"https://{'a' * 64}.example/", "DNS name"),
        (f"https://{'a.' * 127}example/", "DNS name"),
        ("https://\u2460\u2461\u2466.0.0.1/", "punycode"),
        ("https://127\u30020\u30020\u30021/", "punycode"),
        ("https://\uff11\uff12\uff17.0.0.1/", "punycode"),
        ("https://hooks.exam\u00adple/", "punycode"),
    ],
)
def test_a_url_is_refused_by_its_looks_with_the_reason(url: str, why: str):
    with pytest.raises(ForbiddenUrl, match=why):
        INTERNET.check_url(url)


def test_good_urls_pass_and_http_only_where_it_is_allowed():
    INTERNET.check_url("https://hooks.example:8443/path?query=1")
    INTERNET.check_url("https://xn--hks-1na.example/")
    INTERNET.check_url("https://_hooks.my-team.example/")
    INTERNET.check_url("https://93.184.216.34/")
    INTERNET.check_url("https://[2606:2800:220:1:248:1893:25c8:1946]:8443/")
    EgressPolicy(allow_http=True).check_url("http://hooks.example/")
    EgressPolicy(allow_private=True).check_url("https://localhost:9000/")
