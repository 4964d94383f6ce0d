package build

import (
	"archive/tar"
	"os"

	mode "github.com/tonistiigi/dchapes-mode"

	"github.com/lepto-dev/lepto/internal/fault"
)

// chmod is what --chmod says of modes: octal, or as chmod(1) has it. A nil one
// leaves them alone.
type chmod struct {
	text string
	set  mode.Set
}

func parseMode(text string) (*chmod, error) {
	set, err := mode.Parse(text)
	if err != nil {
		return nil, fault.New("E0415", "--chmod=%s is no mode", text).WithHint("for example --chmod=755, or --chmod=u=rwX,go=rX")
	}
	return &chmod{text, set}, nil
}

// String is part of the keys of steps.
func (c *chmod) String() string {
	if c == nil {
		return ""
	}
	return c.text
}

// apply changes the mode of an entry; a symlink has none.
func (c *chmod) apply(h *tar.Header) {
	if c == nil || h.Typeflag == tar.TypeSymlink {
		return
	}
	to := c.set.Apply(h.FileInfo().Mode())
	h.Mode = int64(to.Perm())
	for bit, is := range map[int64]os.FileMode{0o4000: os.ModeSetuid, 0o2000: os.ModeSetgid, 0o1000: os.ModeSticky} {
		if to&is != 0 {
			h.Mode |= bit
		}
	}
}
