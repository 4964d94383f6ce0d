package relay

import (
	"fmt"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/network/netspace"
)

// Features of a TAP device (linux/if_tun.h).
const (
	tunCsum = 0x01
	tunTSO4 = 0x02
	tunTSO6 = 0x04
	tunECN  = 0x08
	tunUSO4 = 0x20
	tunUSO6 = 0x40
)

// openTap takes the device, making it if need be. It stays when the process ends.
func openTap(space *netspace.Space) (fd int, err error) {
	err = space.Do(func() error {
		fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return os.NewSyscallError("open /dev/net/tun", err)
		}
		if err := setUpTap(fd); err != nil {
			unix.Close(fd)
			return fmt.Errorf("device %s: %w", Device, err)
		}
		return nil
	})
	return fd, err
}

func setUpTap(fd int) error {
	request, err := unix.NewIfreq(Device)
	if err != nil {
		return err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return os.NewSyscallError("TUNSETIFF", err)
	}
	size := int32(vnetLen)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.TUNSETVNETHDRSZ, uintptr(unsafe.Pointer(&size))); errno != 0 {
		return os.NewSyscallError("TUNSETVNETHDRSZ", errno)
	}
	const offloads = tunCsum | tunTSO4 | tunTSO6 | tunECN
	if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads|tunUSO4|tunUSO6); err != nil { // USO: Linux 6.2
		if err := unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, offloads); err != nil {
			return os.NewSyscallError("TUNSETOFFLOAD", err)
		}
	}
	return os.NewSyscallError("TUNSETPERSIST", unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1))
}
