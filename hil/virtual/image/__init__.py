"""The virtual node's image: kernel, initrd, root file system and device tree, made from Debian's packages."""

from hil.virtual.image.image import Image, default_cache, load_image

__all__ = ["Image", "default_cache", "load_image"]
