// SPDX-License-Identifier: GPL-2.0
/*
 * An I2C (SMBus) bus whose chips are registers in RAM, so that stock chip drivers bind from the device tree and the
 * host sets what they read. 1 KiB for each 7-bit address, one 32-bit word for each of its 256 registers:
 * bits 0..15 the SMBus word (low byte first on the wire; a byte transfer uses bits 0..7), and in register 0 bit 31:
 * the chip does not answer (ENXIO), as a dead or unplugged one.
 *
 * touchline,power-on = <address register value>...: written when the bus appears (identity registers).
 * touchline,command-mask = <address mask>...: bits of the command that select the register (a chip whose bit 7 means
 *	auto-increment has 0x7f); all chips not named have 0xff.
 * touchline,self-reset = <address register mask value>...: a write that has a bit of the mask leaves the value.
 */
#include <linux/bits.h>
#include <linux/i2c.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>

#define CHIP_BYTES	0x400
#define CHIP_COUNT	128
#define CHIP_SILENT	BIT(31)
#define RESETS_MAX	16

struct ram_i2c {
	struct i2c_adapter adapter;
	void __iomem *base;
	u32 resets[RESETS_MAX][4];
	int reset_count;
	u8 masks[CHIP_COUNT];
};

static void __iomem *ram_i2c_register(struct ram_i2c *bus, u16 address, u8 command)
{
	return bus->base + address * CHIP_BYTES + (command & bus->masks[address]) * sizeof(u32);
}

static u16 ram_i2c_get(struct ram_i2c *bus, u16 address, u8 command)
{
	return readl(ram_i2c_register(bus, address, command));
}

static void ram_i2c_put(struct ram_i2c *bus, u16 address, u8 command, u16 value)
{
	u8 selected = command & bus->masks[address];
	void __iomem *word = ram_i2c_register(bus, address, command);
	int i;

	for (i = 0; i < bus->reset_count; i++)
		if (bus->resets[i][0] == address && bus->resets[i][1] == selected && (value & bus->resets[i][2]))
			value = bus->resets[i][3];
	writel((readl(word) & ~0xffffU) | value, word);
}

static int ram_i2c_block(struct ram_i2c *bus, u16 address, char read_write, u8 command, union i2c_smbus_data *data)
{
	int i, len = data->block[0];

	if (!len || len > I2C_SMBUS_BLOCK_MAX || command + len > 256)
		return -EINVAL;
	for (i = 0; i < len; i++) {
		if (read_write == I2C_SMBUS_READ)
			data->block[1 + i] = ram_i2c_get(bus, address, command + i) & 0xff;
		else
			ram_i2c_put(bus, address, command + i, data->block[1 + i]);
	}
	return 0;
}

static s32 ram_i2c_xfer(struct i2c_adapter *adapter, u16 address, unsigned short flags, char read_write, u8 command,
			int size, union i2c_smbus_data *data)
{
	struct ram_i2c *bus = i2c_get_adapdata(adapter);

	if (address >= CHIP_COUNT || (readl(ram_i2c_register(bus, address, 0)) & CHIP_SILENT))
		return -ENXIO;
	switch (size) {
	case I2C_SMBUS_QUICK:
		return 0;
	case I2C_SMBUS_BYTE_DATA:
		if (read_write == I2C_SMBUS_READ)
			data->byte = ram_i2c_get(bus, address, command) & 0xff;
		else
			ram_i2c_put(bus, address, command, data->byte);
		return 0;
	case I2C_SMBUS_WORD_DATA:
		if (read_write == I2C_SMBUS_READ)
			data->word = ram_i2c_get(bus, address, command);
		else
			ram_i2c_put(bus, address, command, data->word);
		return 0;
	case I2C_SMBUS_I2C_BLOCK_DATA:
		return ram_i2c_block(bus, address, read_write, command, data);
	default:
		return -EOPNOTSUPP;
	}
}

static u32 ram_i2c_functionality(struct i2c_adapter *adapter)
{
	return I2C_FUNC_SMBUS_QUICK | I2C_FUNC_SMBUS_BYTE_DATA | I2C_FUNC_SMBUS_WORD_DATA | I2C_FUNC_SMBUS_I2C_BLOCK;
}

static const struct i2c_algorithm ram_i2c_algorithm = {
	.smbus_xfer = ram_i2c_xfer,
	.functionality = ram_i2c_functionality,
};

static int ram_i2c_configure(struct ram_i2c *bus, struct device_node *node)
{
	int i, count;
	u32 entry[3];

	memset(bus->masks, 0xff, sizeof(bus->masks));
	count = of_property_count_u32_elems(node, "touchline,command-mask");
	for (i = 0; i + 2 <= count; i += 2) {
		of_property_read_u32_index(node, "touchline,command-mask", i, &entry[0]);
		of_property_read_u32_index(node, "touchline,command-mask", i + 1, &entry[1]);
		if (entry[0] >= CHIP_COUNT)
			return -EINVAL;
		bus->masks[entry[0]] = entry[1];
	}
	count = of_property_count_u32_elems(node, "touchline,power-on");
	for (i = 0; i + 3 <= count; i += 3) {
		of_property_read_u32_index(node, "touchline,power-on", i, &entry[0]);
		of_property_read_u32_index(node, "touchline,power-on", i + 1, &entry[1]);
		of_property_read_u32_index(node, "touchline,power-on", i + 2, &entry[2]);
		if (entry[0] >= CHIP_COUNT || entry[1] > 0xff || entry[2] > 0xffff)
			return -EINVAL;
		ram_i2c_put(bus, entry[0], entry[1], entry[2]);
	}
	count = of_property_count_u32_elems(node, "touchline,self-reset");
	for (i = 0; i < count && i / 4 < RESETS_MAX; i++)
		of_property_read_u32_index(node, "touchline,self-reset", i, &bus->resets[i / 4][i % 4]);
	bus->reset_count = i / 4;
	return 0;
}

static int ram_i2c_probe(struct platform_device *pdev)
{
	struct device *dev = &pdev->dev;
	struct ram_i2c *bus = devm_kzalloc(dev, sizeof(*bus), GFP_KERNEL);
	int error;

	if (!bus)
		return -ENOMEM;
	bus->base = devm_platform_ioremap_resource(pdev, 0);
	if (IS_ERR(bus->base))
		return PTR_ERR(bus->base);
	error = ram_i2c_configure(bus, dev->of_node);
	if (error)
		return dev_err_probe(dev, error, "a chip outside address 0..127, register 0..255, value 0..65535\n");
	strscpy(bus->adapter.name, "RAM-backed I2C", sizeof(bus->adapter.name));
	bus->adapter.owner = THIS_MODULE;
	bus->adapter.algo = &ram_i2c_algorithm;
	bus->adapter.dev.parent = dev;
	bus->adapter.dev.of_node = dev->of_node;
	i2c_set_adapdata(&bus->adapter, bus);
	return devm_i2c_add_adapter(dev, &bus->adapter);
}

static const struct of_device_id ram_i2c_of_match[] = {
	{ .compatible = "touchline,ram-i2c" },
	{ }
};
MODULE_DEVICE_TABLE(of, ram_i2c_of_match);

static struct platform_driver ram_i2c_driver = {
	.driver = { .name = "ram_i2c", .of_match_table = ram_i2c_of_match },
	.probe = ram_i2c_probe,
};
module_platform_driver(ram_i2c_driver);

MODULE_DESCRIPTION("I2C bus of RAM-backed chips");
MODULE_LICENSE("GPL");
