"""How often an address may do something, whatever the addresses."""

from collections import Counter
from datetime import timedelta

from hypothesis import given
from hypothesis import strategies as st

from hello_tornado.accounts.networks import networks_of
from hello_tornado.rates import LENIENCE, MINUTE, MOST_BUCKETS, Rate

ADDRESSES = st.one_of(st.ip_addresses().map(str), st.sampled_from(["", "192.0.2.1", "2001:db8::1"]))


@given(st.lists(st.tuples(ADDRESSES, st.integers(0, MINUTE // 10)), max_size=60))
def test_no_network_does_more_than_its_burst_and_its_share_of_the_time(
    attempts: list[tuple[str, int]],
) -> None:
    rate, now, admitted = Rate(3), 0, Counter[str]()
    for address, pause in attempts:
        now += pause
        wait = rate.admit(address, now)
        assert wait is None or timedelta(0) < wait <= timedelta(seconds=20)
        networks = networks_of(address)
        if wait is None:
            admitted.update(networks)
            for network, lenience in zip(networks, LENIENCE, strict=False):
                assert admitted[network] <= 3 * lenience * (1 + now / MINUTE)


def test_what_is_counted_is_bounded() -> None:
    rate = Rate(3)
    for number in range(MOST_BUCKETS + 100):
        assert rate.admit(f"host {number}", 0) is None
    assert len(rate._free_at) == MOST_BUCKETS
