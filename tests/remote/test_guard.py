"""Which addresses are public; no other one is connected to."""

import ipaddress

import pytest

from vision_recs.remote.guard import is_public

IPV4_REGISTRY = """
0.0.0.0/8 0.0.0.0/32 10.0.0.0/8 100.64.0.0/10 127.0.0.0/8 169.254.0.0/16 172.16.0.0/12 192.0.0.0/24 192.0.0.0/29
192.0.0.8/32 192.0.0.9/32 192.0.0.10/32 192.0.0.170/32 192.0.0.171/32 192.0.2.0/24 192.31.196.0/24 192.52.193.0/24
192.88.99.0/24 192.168.0.0/16 192.175.48.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24 240.0.0.0/4
255.255.255.255/32
"""
IPV6_REGISTRY = """
::1/128 ::/128 64:ff9b:1::/48 100::/64 100:0:0:1::/64 2001::/23 2001::/32 2001:1::1/128 2001:1::2/128 2001:1::3/128
2001:2::/48 2001:3::/32 2001:4:112::/48 2001:10::/28 2001:20::/28 2001:30::/28 2001:db8::/32 2002::/16
2620:4f:8000::/48 3fff::/20 5f00::/16 fc00::/7 fe80::/10
"""
"""The IANA special-purpose address registries, but for the networks that stand for IPv4 addresses."""

OTHERS = "224.0.0.0/4 ff00::/8 fec0::/10 ::/96 ::/8 4000::/3 e000::/4"
"""Multicast, site local, compatible with IPv4, and what is not assigned."""


@pytest.mark.parametrize("network", [*IPV4_REGISTRY.split(), *IPV6_REGISTRY.split(), *OTHERS.split()])
def test_no_address_of_the_special_purpose_registries_is_public(network):
    special = ipaddress.ip_network(network)
    for address in (special[0], special[special.num_addresses // 2], special[-1]):
        assert not is_public(str(address))


@pytest.mark.parametrize("network", IPV4_REGISTRY.split())
def test_an_ipv4_address_within_ipv6_is_no_more_public(network):
    for address in (ipaddress.ip_network(network)[0], ipaddress.ip_network(network)[-1]):
        assert not is_public(f"::ffff:{address}")
        assert not is_public(f"64:ff9b::{address}")
        assert not is_public(f"::{address}")
        assert not is_public(str(ipaddress.IPv6Address((0x2002 << 112) + (int(address) << 80))))  # 6to4


PUBLIC = """
1.1.1.1 9.255.255.255 11.0.0.0 93.184.216.34 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.0 169.253.255.255
169.255.0.0 172.15.255.255 172.32.0.0 192.0.1.0 192.167.255.255 192.169.0.0 198.17.255.255 198.20.0.0 223.255.255.255
2001:200:: 2001:db7:ffff:: 2001:db9:: 2003:: 2400:: 2606:2800:220:1:248:1893:25c8:1946 3ffe:ffff:: 3fff:1000::
::ffff:93.184.216.34 64:ff9b::93.184.216.34
"""


@pytest.mark.parametrize("address", PUBLIC.split())
def test_other_addresses_are_public(address):
    assert is_public(address)


def test_the_zone_of_an_address_does_not_matter():
    assert not is_public("fe80::1%eth0")
    assert is_public("2400::1%eth0")
