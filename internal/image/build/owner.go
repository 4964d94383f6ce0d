package build

import (
	"bufio"
	"io"
	"strconv"
	"strings"

	"github.com/lepto-dev/lepto/internal/fault"
)

// ownerOf reads --chown=user[:group]: numbers, or names that the root file system
// knows. Without a group, a user's own group counts, and a number is both.
func ownerOf(root *view, chown string) (*owner, error) {
	if chown == "" {
		return nil, nil
	}
	user, group, hasGroup := strings.Cut(chown, ":")
	var out owner
	if id, err := strconv.ParseUint(user, 10, 32); err == nil {
		out = owner{int(id), int(id)}
	} else if user != "" { // without one it is root

		fields, err := lookUp(root, "etc/passwd", user, 4)
		if err != nil {
			return nil, err
		}
		if fields == nil {
			return nil, fault.New("E0415", "--chown=%s: user %q is not in the image's /etc/passwd", chown, user).
				WithHint("use a number, or make the user before")
		}
		if out.uid, out.gid, err = ids(fields[2], fields[3]); err != nil {
			return nil, fault.New("E0415", "--chown=%s: /etc/passwd: %w", chown, err)
		}
	}
	if !hasGroup || group == "" {
		return &out, nil
	}
	if id, err := strconv.ParseUint(group, 10, 32); err == nil {
		out.gid = int(id)
		return &out, nil
	}
	fields, err := lookUp(root, "etc/group", group, 3)
	if err != nil {
		return nil, err
	}
	if fields == nil {
		return nil, fault.New("E0415", "--chown=%s: group %q is not in the image's /etc/group", chown, group).
			WithHint("use a number, or make the group before")
	}
	out.gid, _, err = ids(fields[2], "0")
	return &out, err
}

func ids(a, b string) (int, int, error) {
	x, err := strconv.ParseUint(a, 10, 32)
	if err != nil {
		return 0, 0, err
	}
	y, err := strconv.ParseUint(b, 10, 32)
	return int(x), int(y), err
}

// lookUp finds the line of a name in a file like passwd(5), which has at least
// that many fields; nil if it is not there.
func lookUp(root *view, file, name string, fields int) ([]string, error) {
	n, err := root.find(file, true)
	if err != nil || n == nil || !n.isRegular() {
		return nil, err
	}
	f, err := openFrom(n)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(io.LimitReader(f, maxText))
	for lines.Scan() {
		if parts := strings.Split(lines.Text(), ":"); len(parts) >= fields && parts[0] == name {
			return parts, nil
		}
	}
	return nil, lines.Err()
}
