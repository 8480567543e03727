#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
"""Edit copies of driver sources: Linux 6.12, v4l2loopback 0.13. A program of its own: nothing of Touchline imports it.

    patch_drivers.py ptp_mock FILE      the mock clock at a moment of the raw clock, its lock safe in soft interrupts
    patch_drivers.py netdevsim FOLDER   hardware time stamps from that clock, and faults as module parameters
    patch_drivers.py irq_sim FILE       compiled into a module, where irq_to_desc is not exported
    patch_drivers.py v4l2loopback FILE  numbers and stamps are the writer's, and stay while others open the device

Parameters added to netdevsim, all writable while it runs below /sys/module/netdevsim/parameters:

    hil_link_delay_ns   added to every receive stamp: the cable
    hil_asym_ns         added to receive stamps of the port of the device with the higher bus number only
    hil_jitter_ns       evenly spread 0..this, added to every receive stamp
    hil_drop_tx_ts      not 0: transmit stamps are lost (bit n set: those of device n; -1: of all)
    hil_drop_rx_ts      not 0: receive stamps are lost, the frame arrives (the same bits)

Exits with 1 and names file and pattern when a source is not what this was written for.
"""

from __future__ import annotations

import sys
from pathlib import Path


class Mismatch(Exception):
    """A source file does not hold what is to be replaced."""


def edit(file: Path, mark: str, replacements: list[tuple[str, str]], every: bool = False) -> None:
    """Replace each pattern (once, or everywhere with ``every``); a file that already holds ``mark`` stays as it is."""
    text = file.read_text()
    if mark in text:
        return
    for old, new in replacements:
        found = text.count(old)
        if found == 0 or (found > 1 and not every):
            raise Mismatch(f"{file}: expected {'some' if every else 'one'} of {old.strip()[:70]!r}, found {found}")
        text = text.replace(old, new)
    file.write_text(text)


def ptp_mock(file: Path) -> None:
    """The mock clock is read for every frame, from the transmit path."""
    edit(
        file,
        "spin_lock_bh",
        [
            ("spin_lock(&phc->lock)", "spin_lock_bh(&phc->lock)"),
            ("spin_unlock(&phc->lock)", "spin_unlock_bh(&phc->lock)"),
        ],
        every=True,
    )
    edit(file, "mock_phc_at", [("int mock_phc_index(struct mock_phc *phc)\n{", _NOW)])


_NOW = """\
u64 mock_phc_at(struct mock_phc *phc, u64 raw_ns);
u64 mock_phc_at(struct mock_phc *phc, u64 raw_ns)
{
	u64 ns;

	spin_lock_bh(&phc->lock);
	ns = timecounter_cyc2time(&phc->tc, raw_ns);
	spin_unlock_bh(&phc->lock);
	return ns;
}
EXPORT_SYMBOL_GPL(mock_phc_at);

int mock_phc_index(struct mock_phc *phc)
{"""


def netdevsim(folder: Path) -> None:
    """Stamps in both directions of a linked pair of ports."""
    edit(
        folder / "netdevsim.h",
        "hwts",
        [
            ("	struct mock_phc *phc;", "	struct mock_phc *phc;\n	struct kernel_hwtstamp_config hwts;"),
            (
                "#include <linux/ptp_mock.h>",
                "#include <linux/ptp_mock.h>\n#include <linux/net_tstamp.h>\n"
                "u64 mock_phc_at(struct mock_phc *phc, u64 raw_ns);",
            ),
        ],
    )
    edit(
        folder / "ethtool.c",
        "RAW_HARDWARE",
        [("	info->phc_index = mock_phc_index(ns->phc);", _TS_INFO)],
    )
    edit(
        folder / "netdev.c",
        "hil_link_delay_ns",
        [
            ("	skb_tx_timestamp(skb);\n", "	skb = hil_stamp(skb, dev, peer_dev);\n"),
            ('#include "netdevsim.h"', '#include <linux/random.h>\n#include "netdevsim.h"'),
            (
                "static netdev_tx_t nsim_start_xmit(struct sk_buff *skb, struct net_device *dev)\n{",
                _FAULTS + "static netdev_tx_t nsim_start_xmit(struct sk_buff *skb, struct net_device *dev)\n{",
            ),
            (
                "static const struct net_device_ops nsim_netdev_ops = {",
                "static const struct net_device_ops nsim_netdev_ops = {\n"
                "	.ndo_hwtstamp_get	= nsim_hwtstamp_get,\n"
                "	.ndo_hwtstamp_set	= nsim_hwtstamp_set,",
            ),
        ],
    )


_TS_INFO = """\
	info->so_timestamping = SOF_TIMESTAMPING_TX_SOFTWARE | SOF_TIMESTAMPING_RX_SOFTWARE |
		SOF_TIMESTAMPING_SOFTWARE | SOF_TIMESTAMPING_TX_HARDWARE |
		SOF_TIMESTAMPING_RX_HARDWARE | SOF_TIMESTAMPING_RAW_HARDWARE;
	info->tx_types = BIT(HWTSTAMP_TX_OFF) | BIT(HWTSTAMP_TX_ON);
	info->rx_filters = BIT(HWTSTAMP_FILTER_NONE) | BIT(HWTSTAMP_FILTER_ALL);
	info->phc_index = mock_phc_index(ns->phc);"""

_FAULTS = """\
static int hil_link_delay_ns = 500;
module_param(hil_link_delay_ns, int, 0644);
static int hil_asym_ns;
module_param(hil_asym_ns, int, 0644);
static unsigned int hil_jitter_ns;
module_param(hil_jitter_ns, uint, 0644);
static int hil_drop_tx_ts;
module_param(hil_drop_tx_ts, int, 0644);
static int hil_drop_rx_ts;
module_param(hil_drop_rx_ts, int, 0644);

static int nsim_hwtstamp_set(struct net_device *dev, struct kernel_hwtstamp_config *cfg,
				struct netlink_ext_ack *extack)
{
	struct netdevsim *ns = netdev_priv(dev);

	if (cfg->rx_filter != HWTSTAMP_FILTER_NONE)
		cfg->rx_filter = HWTSTAMP_FILTER_ALL;
	ns->hwts = *cfg;
	return 0;
}

static int nsim_hwtstamp_get(struct net_device *dev, struct kernel_hwtstamp_config *cfg)
{
	struct netdevsim *ns = netdev_priv(dev);

	*cfg = ns->hwts;
	return 0;
}

static bool hil_lost(int devices, struct netdevsim *ns)
{
	return devices & BIT(ns->nsim_bus_dev->dev.id & 31);
}

static u64 hil_arrival_ns(struct netdevsim *from, struct netdevsim *to, u64 raw_ns)
{
	unsigned int jitter_ns = READ_ONCE(hil_jitter_ns);
	s64 ns = READ_ONCE(hil_link_delay_ns);

	if (to->nsim_bus_dev->dev.id > from->nsim_bus_dev->dev.id)
		ns += READ_ONCE(hil_asym_ns);
	if (jitter_ns)
		ns += get_random_u32_below(jitter_ns);
	return mock_phc_at(to->phc, raw_ns) + ns;
}

/* The frame is copied, so that the stamp of its arrival is not the sender's. */
static struct sk_buff *hil_stamp(struct sk_buff *skb, struct net_device *dev, struct net_device *peer_dev)
{
	struct netdevsim *ns = netdev_priv(dev), *peer = netdev_priv(peer_dev);
	bool tx = (skb_shinfo(skb)->tx_flags & SKBTX_HW_TSTAMP) && ns->hwts.tx_type && ns->phc;
	struct skb_shared_hwtstamps stamps = {};
	u64 raw_ns = ktime_get_raw_ns(); /* one reading for both: two would be microseconds apart under emulation */
	struct sk_buff *copy = NULL;

	if (tx || peer->hwts.rx_filter)
		copy = skb_copy(skb, GFP_ATOMIC);
	if (!copy) {
		skb_tx_timestamp(skb);
		return skb;
	}
	skb_shinfo(copy)->tx_flags = 0;
	if (tx) {
		skb_shinfo(skb)->tx_flags |= SKBTX_IN_PROGRESS;
		stamps.hwtstamp = ns_to_ktime(mock_phc_at(ns->phc, raw_ns));
		if (!hil_lost(READ_ONCE(hil_drop_tx_ts), ns))
			skb_tstamp_tx(skb, &stamps);
	}
	skb_tx_timestamp(skb);
	if (peer->hwts.rx_filter && peer->phc && !hil_lost(READ_ONCE(hil_drop_rx_ts), peer))
		skb_hwtstamps(copy)->hwtstamp = ns_to_ktime(hil_arrival_ns(ns, peer, raw_ns));
	consume_skb(skb);
	return copy;
}

"""


def irq_sim(file: Path) -> None:
    """generic_handle_irq does what the unexported pair did."""
    edit(
        file,
        "generic_handle_irq",
        [("handle_simple_irq(irq_to_desc(irqnum));", "generic_handle_irq(irqnum);")],
    )


def v4l2loopback(file: Path) -> None:
    """Streams as a sensor's driver does: numbers, monotonic stamps of the start of exposure, a queue of one length."""
    soe = "V4L2_BUF_FLAG_TIMESTAMP_MONOTONIC | V4L2_BUF_FLAG_TSTAMP_SRC_SOE"
    edit(
        file,
        "V4L2_BUF_FLAG_TSTAMP_SRC_SOE",
        [
            ("		b->flags = 0;\n", f"		b->flags = {soe};\n"),
            (
                _LOOPBACK_STAMP,
                "		b->buffer.timestamp = buf->timestamp;\n		b->buffer.sequence = buf->sequence;\n",
            ),
            ("	init_buffers(dev);\n	switch (b->memory) {\n", _LOOPBACK_REQUEST),
        ],
    )


_LOOPBACK_STAMP = (
    "		if ((!(b->buffer.flags & V4L2_BUF_FLAG_TIMESTAMP_COPY)) &&\n"
    "		    (buf->timestamp.tv_sec == 0 && buf->timestamp.tv_usec == 0))\n"
    "			v4l2l_get_timestamp(&b->buffer);\n"
    "		else {\n"
    "			b->buffer.timestamp = buf->timestamp;\n"
    "			b->buffer.flags |= V4L2_BUF_FLAG_TIMESTAMP_COPY;\n"
    "		}\n"
)

_LOOPBACK_REQUEST = """\
	if (dev->ready_for_capture && b->memory == V4L2_MEMORY_MMAP) {
		/* A writer streams: its buffers are as they are, for every reader. */
		if (b->count)
			b->count = dev->used_buffers;
		opener->buffers_number = b->count;
		return 0;
	}
	init_buffers(dev);
	switch (b->memory) {
"""


_EDITS = {"ptp_mock": ptp_mock, "netdevsim": netdevsim, "irq_sim": irq_sim, "v4l2loopback": v4l2loopback}


def main(arguments: list[str]) -> int:
    """Run one edit; 1 with a line on standard error when the source does not fit, 2 for a wrong call."""
    if len(arguments) != 2 or arguments[0] not in _EDITS:
        sys.stderr.write(f"usage: patch_drivers.py {'|'.join(_EDITS)} PATH\n")
        return 2
    try:
        _EDITS[arguments[0]](Path(arguments[1]))
    except (Mismatch, OSError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
