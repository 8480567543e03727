"""The virtual machine under a node: QEMU, its guest, its disks and its network."""
