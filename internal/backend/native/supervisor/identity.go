package supervisor

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/moby/sys/user"
	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend/native/supervise"
	"github.com/lepto-dev/lepto/internal/fault"
)

// defaultPath is the PATH of a process whose image sets none, as Docker has it.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// identity is who a process runs as.
type identity struct {
	uid, gid int
	groups   []int
	home     string
}

// identify looks a user up in the files of the root at root.
func identify(root, spec string) (identity, error) {
	passwd := openIn(root, "/etc/passwd")
	defer passwd.Close()
	group := openIn(root, "/etc/group")
	defer group.Close()
	found, err := user.GetExecUser(spec, &user.ExecUser{Home: "/"}, passwd, group)
	if err != nil {
		return identity{}, unidentified(spec, err)
	}
	// The primary group is a supplementary one too: without it, a process that
	// changes its primary group could shed what "others but this group" denies.
	groups := slices.DeleteFunc(found.Sgids, func(g int) bool { return g == found.Gid })
	return identity{found.Uid, found.Gid, append([]int{found.Gid}, groups...), found.Home}, nil
}

// unidentified tells why a user could not be looked up.
func unidentified(spec string, err error) error {
	if errors.Is(err, user.ErrRange) {
		return fault.New(supervise.CodeUser, "user %q: %w", spec, err)
	}
	name, group, _ := strings.Cut(spec, ":")
	what := fmt.Sprintf("user %q", name)
	if errors.Is(err, user.ErrNoGroupEntries) {
		what = fmt.Sprintf("group %q", group)
	}
	f := fault.New(supervise.CodeUser, "%s is not known in the image", what)
	f.Cause = err
	return f.WithHint("names are looked up in the image's /etc/passwd and /etc/group; a number needs no entry")
}

// openIn opens a file of a root for reading, following symlinks inside the
// root only. A file that isn't there reads as empty.
func openIn(root, name string) io.ReadCloser {
	empty := io.NopCloser(strings.NewReader(""))
	dir, err := os.Open(root)
	if err != nil {
		return empty
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_CLOEXEC | unix.O_NONBLOCK,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return empty
	}
	return os.NewFile(uintptr(fd), name)
}

// environment completes a process's environment. Later entries of env win.
func environment(spec supervise.Spec, id identity, tty bool, env ...string) []string {
	out := []string{"PATH=" + defaultPath}
	if spec.Hostname != "" {
		out = append(out, "HOSTNAME="+spec.Hostname)
	}
	if tty {
		out = append(out, "TERM=xterm")
	}
	out = append(out, "HOME="+id.home)
	return merge(slices.DeleteFunc(slices.Concat(out, spec.Env, env), func(entry string) bool {
		return entry == "HOME=" // as if it weren't set
	}))
}

// merge keeps the last value of each variable, in order of first appearance.
func merge(env []string) []string {
	at := map[string]int{}
	var out []string
	for _, entry := range env {
		name, _, _ := strings.Cut(entry, "=")
		if i, ok := at[name]; ok {
			out[i] = entry
			continue
		}
		at[name] = len(out)
		out = append(out, entry)
	}
	return out
}

// checkWorkDir makes sure the working directory can be one: lepto-init makes a
// missing one.
func checkWorkDir(root, cwd string) (string, error) {
	if cwd == "" {
		return "/", nil
	}
	if !path.IsAbs(cwd) {
		return "", fault.New(supervise.CodeWorkDir, "working directory %q is not absolute", cwd)
	}
	dir, err := os.Open(root)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	fd, err := unix.Openat2(int(dir.Fd()), cwd, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC | unix.O_DIRECTORY,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	switch {
	case err == nil:
		unix.Close(fd)
	case errors.Is(err, unix.ENOENT):
	default:
		return "", fault.New(supervise.CodeWorkDir, "working directory %q: %w", cwd, err)
	}
	return path.Clean(cwd), nil
}
