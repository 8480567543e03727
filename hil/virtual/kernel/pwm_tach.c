// SPDX-License-Identifier: GPL-2.0
/*
 * A fan tachometer on one RAM-backed register, seen by user space as Tegra's own: hwmon name "pwm_tach", attribute "rpm".
 * The host writes the register: bit 31 valid, bits 0..15 revolutions per minute. Not valid reads as EIO.
 */
#include <linux/bits.h>
#include <linux/hwmon.h>
#include <linux/io.h>
#include <linux/module.h>
#include <linux/of.h>
#include <linux/platform_device.h>
#include <linux/sysfs.h>

#define TACH_VALID	BIT(31)
#define TACH_RPM	GENMASK(15, 0)

static ssize_t rpm_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	void __iomem *base = dev_get_drvdata(dev);
	u32 word = readl(base);

	if (!(word & TACH_VALID))
		return -EIO;
	return sysfs_emit(buf, "%lu\n", word & TACH_RPM);
}
static DEVICE_ATTR_RO(rpm);

static struct attribute *pwm_tach_attrs[] = {
	&dev_attr_rpm.attr,
	NULL,
};
ATTRIBUTE_GROUPS(pwm_tach);

static int pwm_tach_probe(struct platform_device *pdev)
{
	void __iomem *base = devm_platform_ioremap_resource(pdev, 0);
	struct device *hwmon;

	if (IS_ERR(base))
		return PTR_ERR(base);
	hwmon = devm_hwmon_device_register_with_groups(&pdev->dev, "pwm_tach", (void __force *)base, pwm_tach_groups);
	return PTR_ERR_OR_ZERO(hwmon);
}

static const struct of_device_id pwm_tach_of_match[] = {
	{ .compatible = "touchline,ram-tachometer" },
	{ }
};
MODULE_DEVICE_TABLE(of, pwm_tach_of_match);

static struct platform_driver pwm_tach_driver = {
	.driver = { .name = "pwm_tach", .of_match_table = pwm_tach_of_match },
	.probe = pwm_tach_probe,
};
module_platform_driver(pwm_tach_driver);

MODULE_DESCRIPTION("Tachometer on a RAM-backed register");
MODULE_LICENSE("GPL");
