package supervisor

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

func TestIdentify(t *testing.T) {
	root := t.TempDir()
	for name, text := range map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nguest:x:405:100:guest:/home/guest:/bin/sh\n",
		"group":  "root:x:0:\nusers:x:100:guest\nstaff:x:50:guest\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, "etc"), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, "etc", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		spec     string
		uid, gid int
		groups   int
	}{
		{"", 0, 0, 1}, {"guest", 405, 100, 2}, {"guest:staff", 405, 50, 1}, {"1000", 1000, 0, 1}, {"1000:7", 1000, 7, 1},
	} {
		id, err := identify(root, c.spec)
		if err != nil || id.uid != c.uid || id.gid != c.gid || len(id.groups) != c.groups {
			t.Errorf("%q is %+v, %v; want %d:%d with %d groups", c.spec, id, err, c.uid, c.gid, c.groups)
		}
	}
	for spec, want := range map[string]string{
		"nobody-here": `user "nobody-here" is not known in the image`,
		"grouper":     `user "grouper" is not known in the image`, // a user, whatever it is called
		"guest:wheel": `group "wheel" is not known in the image`,
		"4294967296":  `user "4294967296": uids and gids must be in range 0-2147483647`,
		"0:-5":        `user "0:-5": uids and gids must be in range 0-2147483647`,
	} {
		_, err := identify(root, spec)
		if f := fault.From(err, "none"); f.Code != supervise.CodeUser || f.Summary != want {
			t.Errorf("%q: %s %q, want %q", spec, f.Code, f.Summary, want)
		}
	}
}
