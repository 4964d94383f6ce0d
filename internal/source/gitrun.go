package source

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lepto-dev/lepto/internal/fault"
)

// This file runs the git program, and says in a user's words what it said.

// tries is how often git is asked for what needs a network.
const tries = 3

// online runs git for something that needs a network: again, after a pause, where
// the network failed.
func (g Git) online(ctx context.Context, dir string, args ...string) (string, error) {
	pause := g.Pause
	if pause <= 0 {
		pause = time.Second
	}
	for try := 1; ; try++ {
		out, err := g.run(ctx, dir, args...)
		if err == nil || try == tries || !isPassing(err) {
			return out, explain(err)
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return "", context.Cause(ctx)
		}
		pause *= 2
	}
}

// run runs git without any prompt. Its error carries what git said.
func (g Git) run(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append(g.tokenHelper(), args...)...)
	cmd.Dir = dir
	cmd.Env = append(append(withoutRepository(os.Environ()), g.Env...), "GIT_TERMINAL_PROMPT=0", "GIT_LFS_SKIP_SMUDGE=1", "LC_ALL=C", "GIT_ASKPASS=", "SSH_ASKPASS=")
	if !slices.ContainsFunc(cmd.Env, func(v string) bool { return strings.HasPrefix(v, "GIT_SSH") }) {
		cmd.Env = append(cmd.Env, "GIT_SSH_COMMAND=ssh -oBatchMode=yes")
	}
	if g.config != "" {
		cmd.Env = append(cmd.Env, "GIT_CONFIG_NOSYSTEM=1", "GIT_CONFIG_GLOBAL="+g.config)
	}
	endTogether(cmd)
	cmd.WaitDelay = 5 * time.Second // a helper that keeps the pipe open must not hang us
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	switch {
	case err == nil:
		return stdout.String(), nil
	case context.Cause(ctx) != nil:
		return "", context.Cause(ctx)
	case errors.Is(err, exec.ErrNotFound):
		return "", marked{fault.New("E0116", "the program git, which fetches packages, is not installed").WithHint("apt-get install git"), errNoGit}
	}
	return "", gitError(password().ReplaceAllString(stderr.String(), "//"), err)
}

// password finds the user and password of an address, which git's errors repeat.
var password = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`//[^/\s@']+@`) })

// tokenHelper makes a token in the environment what git shows where GitHub asks for
// a password and no credential helper of the user's has one. The token itself is
// no argument: those are for all to see.
func (g Git) tokenHelper() []string {
	if g.url != "" {
		return nil
	}
	return []string{"-c", "credential." + g.base() + `.helper=!f() { t="${GITHUB_TOKEN:-$GH_TOKEN}"; ` +
		`if [ "$1" = get ] && [ -n "$t" ]; then echo username=x-access-token; echo "password=$t"; fi; }; f`}
}

// ofRepository are the variables that tell git which repository it works in: set
// in git's own hooks, where it would work in the user's, and not in the cache
// (git rev-parse --local-env-vars).
var ofRepository = []string{
	"GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_COMMON_DIR", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY",
	"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE", "GIT_PREFIX", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE",
	"GIT_REPLACE_REF_BASE", "GIT_NO_REPLACE_OBJECTS", "GIT_CONFIG",
}

func withoutRepository(environ []string) []string {
	return slices.DeleteFunc(environ, func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return slices.Contains(ofRepository, name)
	})
}

// errNoGit says that there is no git program.
var errNoGit = errors.New("no git")

// marked is a fault that errors.Is knows, and whose text says it all.
type marked struct {
	*fault.Fault
	mark error
}

func (m marked) Is(target error) bool { return target == m.mark }

func (m marked) Unwrap() error { return m.Fault }

// unreadable is how git ends where the line before, of ssh mostly, has the cause.
const unreadable = "fatal: Could not read from remote repository"

// gitError makes an error of what git wrote: of its lines the one that names the
// cause, which is mostly the first that is fatal.
func gitError(said string, err error) error {
	last := ""
	said = strings.ReplaceAll(said, ":\n", ": ") // the rest of a sentence
	for line := range strings.Lines(said) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if strings.HasPrefix(line, unreadable) && last != "" {
			break // advice follows
		}
		last = line
		if cause := causeIn(line); cause != "" {
			return errors.New("git: " + cause)
		}
		if strings.Contains(line, "Permission denied") {
			break
		}
	}
	if last == "" {
		return fmt.Errorf("git: %w", err)
	}
	return errors.New("git: " + last)
}

// causeIn gives the cause that a line names; "" if it names none.
func causeIn(line string) string {
	for _, prefix := range []string{"fatal: ", "error: ", "ERROR: ", "remote: "} {
		if cause, ok := strings.CutPrefix(line, prefix); ok && (prefix != "remote: " || strings.Contains(cause, "not found")) {
			return cause
		}
	}
	return ""
}

// A reason is what git says where something is wrong that the user can mend.
type reason struct {
	said        []string
	passing     bool // trying again may help
	unreachable bool // it says nothing about the repository
	hint        string
}

var reasons = []reason{
	{
		said: []string{
			"could not resolve", "name or service not known", "temporary failure in name resolution", "connection refused",
			"network is unreachable", "no route to host", "failed to connect", "unable to connect", "couldn't connect", "tunnel failed",
		},
		unreachable: true,
		hint:        "without a way to the network, packages come from a mirror: --package-mirror DIR",
	},
	{
		said: []string{
			"timed out", "connection reset", "early eof", "unexpected disconnect", "the remote end hung up", "rpc failed",
			"returned error: 5", "returned error: 429", "gnutls recv error",
		},
		passing: true, unreachable: true,
		hint: "the network, or the server, failed several times: try again later",
	},
	{
		said: []string{"could not read username", "authentication failed", "terminal prompts disabled", "permission denied (publickey", "returned error: 403", "returned error: 401", "repository not found", "repository access denied"},
		hint: "it does not exist, or is private: git needs credentials that work without a prompt (GITHUB_TOKEN, a credential helper, or an SSH key and url.<base>.insteadOf)",
	},
	{
		said: []string{"ssl certificate", "certificate verify failed", "server certificate"},
		hint: "behind a proxy with a certificate of its own, tell git: git config --global http.sslCAInfo FILE",
	},
	{
		said: []string{"host key verification failed"},
		hint: "ssh does not know this server yet, or knows it otherwise: try ssh -T git@" + host,
	},
	{
		said: []string{"no space left"},
		hint: "make room on the disk of the engine's home",
	},
}

func reasonOf(err error) *reason {
	text := strings.ToLower(err.Error())
	for i := range reasons {
		if slices.ContainsFunc(reasons[i].said, func(part string) bool { return strings.Contains(text, part) }) {
			return &reasons[i]
		}
	}
	return nil
}

// isPassing reports whether an error is one of a network that may work again in
// a moment.
func isPassing(err error) bool {
	var f *fault.Fault
	r := reasonOf(err)
	return r != nil && r.passing && !errors.As(err, &f)
}

// explained is an error with a hint of its own.
type explained struct {
	error
	hint string
}

func (e explained) Unwrap() error { return e.error }

// explain adds to git's error what the user can do about it.
func explain(err error) error {
	if err == nil {
		return nil
	}
	if r := reasonOf(err); r != nil {
		return explained{err, r.hint}
	}
	return err
}

// gitVariables are the variables of an environment that change how git reaches
// a repository.
var gitVariables = []string{
	"GITHUB_TOKEN", "GH_TOKEN", "HOME", "XDG_CONFIG_HOME", "SSH_AUTH_SOCK", "GIT_SSH", "GIT_SSH_COMMAND", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_COUNT",
	"GIT_SSL_CAINFO", "GIT_SSL_CAPATH", "GIT_SSL_NO_VERIFY", "GIT_PROXY_COMMAND",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
}

// GitEnvironment gives, of an environment, the variables that change how git
// reaches a repository: so that a package is fetched in the engine as whoever
// asks for it would.
func GitEnvironment(environ []string) []string {
	var out []string
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if slices.Contains(gitVariables, name) || strings.HasPrefix(name, "GIT_CONFIG_KEY_") || strings.HasPrefix(name, "GIT_CONFIG_VALUE_") {
			out = append(out, v)
		}
	}
	return out
}

// GitToken gives the variables with which git shows a token to GitHub, and to
// nobody else. Variables, since the arguments of a program are for all to see.
func GitToken(token string) []string {
	basic := base64.StdEncoding.EncodeToString([]byte("x-access-token:" + token))
	return []string{
		"GIT_CONFIG_COUNT=1",
		"GIT_CONFIG_KEY_0=http.https://" + host + "/.extraHeader",
		"GIT_CONFIG_VALUE_0=Authorization: Basic " + basic,
	}
}
