//! The vehicle computer's kernel has a virtual camera and a virtual bus: what reads cameras and buses, tried on them.

use std::path::{Path, PathBuf};

use shoal_tests::emulator::Image;

/// Loads the drivers, and runs the program against the root of the image.
const INIT: &str = "\
#!/bin/busybox sh
PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
for module in virtio_pci virtio_blk squashfs; do modprobe $module; done
name=PARTNAME=shoal-$(sed -n 's/.*shoal\\.disk=\\([0-9a-f]*\\).*/\\1/p' /proc/cmdline)-root-a
while ! grep -qx $name /sys/class/block/*/uevent; do sleep 0.1; done
device=$(sed -n 's/^DEVNAME=//p' $(grep -lx $name /sys/class/block/*/uevent))
mount -t squashfs -o ro /dev/$device /new
for name in dev proc sys; do mount -o bind /$name /new/$name; done
mount -t tmpfs tmpfs /new/tmp
cp /check/* /new/tmp
for module in can-raw vcan vivid kvaser_pci; do chroot /new modprobe $module; done
chroot /new ip link add dev vcan0 type vcan
chroot /new ip link set vcan0 mtu 72
chroot /new ip link set vcan0 up
candump=
[ -f /check/*.candump ] && candump=\"--candump /tmp/$(basename /check/*.candump)\"
chroot /new /tmp/devices --camera /dev/video0 --can vcan0 --controllers can0,can1 $candump
echo devices ended with $?
poweroff -f
";

/// A bus's recorded log.
fn candump() -> Option<PathBuf> {
    let files = std::fs::read_dir(shoal_tests::data::folder("logs")?).ok()?;
    let mut paths = files.filter_map(|file| Some(file.ok()?.path()));
    paths.find(|path| path.extension().is_some_and(|end| end == "candump"))
}

#[test]
fn a_camera_and_a_bus_of_the_kernel_are_read_and_never_written() {
    let Some(image) = Image::copy_or_skip() else { return };
    let devices = PathBuf::from(std::env::var_os("SHOAL_DEVICES").unwrap());
    let candump = candump();
    let files: Vec<&Path> =
        [Some(devices.as_path()), candump.as_deref()].into_iter().flatten().collect();
    let computer = image.boot_into(INIT, &files);
    computer.says("devices ended with", 1);
    let said = computer.cut();
    let checks = if candump.is_some() { 23 } else { 22 };
    assert!(said.contains(&format!("devices: {checks} passed, 0 failed")), "{said}");
    assert!(said.contains("devices ended with 0"), "{said}");
}
