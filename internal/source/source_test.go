package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
)

func TestParseLocator(t *testing.T) {
	for _, c := range []struct{ in, id, version string }{
		{"github.com/a/b", "github.com/a/b", ""},
		{"GitHub.com/a/b/", "github.com/a/b", ""},
		{"github.com/a/b/c/d.star", "github.com/a/b/c/d.star", ""},
		{"github.com/a/b/../../etc/passwd", "github.com/etc/passwd", ""},
		{"github.com/../../etc/passwd/x.star", "github.com/etc/passwd/x.star", ""},
		{"github.com/a/b@1.2.3", "github.com/a/b", "1.2.3"},
		{"github.com/a/b@1.2.3/c/d.star", "github.com/a/b/c/d.star", "1.2.3"},
		{"github.com/a/b/c@main", "github.com/a/b/c", "main"},
		{"github.com/a/b@feature/x", "github.com/a/b", "feature/x"},
		{"github.com/a/b@release/1.2", "github.com/a/b", "release/1.2"},
		{"github.com/a/b@my@branch", "github.com/a/b", "my@branch"},
		{"github.com/a/b@v/../../x.star", "github.com/a/b/x.star", "v"},
		{"github.com/a/b.git", "github.com/a/b", ""},
	} {
		l, err := ParseLocator(c.in)
		if err != nil || l.ID() != c.id || l.Version != c.version {
			t.Errorf("%s: got %s@%s, %v", c.in, l.ID(), l.Version, err)
		}
	}
	for _, bad := range []string{"", "github.com", "github.com/a", "gitlab.com/a/b", "https://github.com/a/b", "./x", "/x", "github.com/a/b\\c", "github.com/-x/b", "github.com/a/b@--upload-pack=x"} {
		if l, err := ParseLocator(bad); err == nil {
			t.Errorf("%q: got %v", bad, l)
		}
	}
}

func TestManifest(t *testing.T) {
	m, err := ParseManifest("kurtosis.yml", []byte("name: github.com/a/b/c\ndescription: |\n  two\n  lines\nreplace:\n  github.com/x/y: ../y\n  github.com/x/z: github.com/me/z@1.0\n"))
	if err != nil || m.Name != "github.com/a/b/c" || m.Description != "two\nlines\n" || m.Replace["github.com/x/y"] != "../y" {
		t.Fatalf("got %+v, %v", m, err)
	}
	for _, c := range []struct {
		name, text, want string
		line             int
	}{
		{"empty", "", "is empty", 0},
		{"no name", "description: x\n", "has no name", 1},
		{"empty name", "name: ''\n", "name is empty", 1},
		{"unknown key", "name: github.com/a/b\nsummary: x\n", `unknown key "summary"`, 2},
		{"twice", "name: github.com/a/b\nname: github.com/a/c\n", `key "name" is given twice`, 2},
		{"type", "name: [1]\n", "name must be a text", 1},
		{"number", "name: github.com/a/b\ndescription: 3\n", "description must be a text", 2},
		{"list", "- a\n", "must be a mapping", 1},
		{"no locator", "name: foo\n", `name "foo" is no locator`, 1},
		{"slash", "name: github.com/a/b/\n", "must be a plain locator", 1},
		{"version", "name: github.com/a/b@1\n", "must be a plain locator", 1},
		{"replace type", "name: github.com/a/b\nreplace: x\n", "replace must be a mapping", 2},
		{"replace key", "name: github.com/a/b\nreplace:\n  foo: ./x\n", `"foo" is no package`, 3},
		{"replace value", "name: github.com/a/b\nreplace:\n  github.com/a/c: foo\n", "neither a package nor a path", 3},
		{"syntax", "name: github.com/a/b\n\tx: y\n", "found a tab character", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseManifest("kurtosis.yml", []byte(c.text))
			f := fault.From(err, "none")
			line := 0
			if len(f.At) > 0 {
				line = f.At[0].Line
			}
			if f.Code != "E0110" || !strings.Contains(f.Summary, c.want) || line != c.line {
				t.Errorf("got %s line %d: %s", f.Code, line, f.Summary)
			}
		})
	}
}

// tree writes files below a directory, by path.
func tree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestResolve(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"repo/.git/HEAD":                      "",
		"repo/shared/s.star":                  "shared",
		"repo/pkg/main.star":                  "main",
		"repo/pkg/lib/a.star":                 "a",
		"repo/pkg/kurtosis.yml":               "name: github.com/me/repo/pkg\nreplace:\n  github.com/x/y: ../../local\n  github.com/x/y/deep: github.com/f/fork@v1\n  github.com/q/r: github.com/q/r@branch\n",
		"local/y.star":                        "local y",
		"mirror/github.com/f/fork@v1/z.star":  "fork",
		"mirror/github.com/q/r@branch/r.star": "branch",
		"mirror/github.com/o/p/kurtosis.yml":  "name: github.com/o/p\n",
		"mirror/github.com/o/p/sub/main.star": "other",
	})
	p, err := OpenDir(filepath.Join(top, "repo/pkg"), "", WithFetcher(Mirror{Dir: filepath.Join(top, "mirror")}))
	if err != nil {
		t.Fatal(err)
	}
	main, lib := p.Main(), File{Name: "github.com/me/repo/pkg/lib/a.star"}
	for _, c := range []struct {
		from       File
		locator    string
		name, want string // want: the text, or an error's code
	}{
		{main, "lib/a.star", "github.com/me/repo/pkg/lib/a.star", "a"},
		{main, "./lib/../lib/a.star", "github.com/me/repo/pkg/lib/a.star", "a"},
		{lib, "../main.star", "github.com/me/repo/pkg/main.star", "main"},
		{main, "/pkg/lib/a.star", "github.com/me/repo/pkg/lib/a.star", "a"},
		{main, "/shared/s.star", "github.com/me/repo/shared/s.star", "shared"},
		{main, "../shared/s.star", "github.com/me/repo/shared/s.star", "shared"},
		{main, "github.com/me/repo/pkg/lib/a.star", "github.com/me/repo/pkg/lib/a.star", "a"},
		{main, "github.com/x/y/y.star", "github.com/x/y/y.star", "local y"},
		{main, "github.com/x/y/deep/z.star", "github.com/f/fork/z.star", "fork"},
		{main, "github.com/q/r/r.star@9", "github.com/q/r/r.star", "branch"},
		{main, "github.com/o/p/sub/main.star", "github.com/o/p/sub/main.star", "other"},
		{main, "lib/b.star", "", "E0114"},
		{main, "../../../etc/passwd", "", "E0117"},
		{main, "../../../etc/passwd/x", "", "E0117"},
		{main, "/../../etc/passwd/x", "", "E0117"},
		{main, "github.com/no/such/x.star", "", "E0116"},
		{main, "", "", "E0113"},
		{main, "a\x00b", "", "E0113"},
		{File{Name: ScriptID}, "./x.star", "", "E0113"},
	} {
		file, err := p.Resolve(context.Background(), c.from, c.locator, Anything)
		if err != nil {
			if f := fault.From(err, "none"); f.Code != c.want {
				t.Errorf("%q: got %s %v, want %s", c.locator, f.Code, err, c.want)
			}
			continue
		}
		text, err := p.ReadCode(t.Context(), file)
		if file.Name != c.name || text != c.want || err != nil {
			t.Errorf("%q: got %s %q %v", c.locator, file.Name, text, err)
		}
	}
	if want := []string{"github.com/f/fork", "github.com/o/p", "github.com/q/r", "github.com/x/y"}; !slices.Equal(p.Used(), want) {
		t.Errorf("used %v", p.Used())
	}
	if len(p.Warnings()) != 1 || p.Display("github.com/me/repo/pkg/lib/a.star") != "lib/a.star" {
		t.Errorf("warnings %v", p.Warnings())
	}
}

// The code of a package that took another one's place names its own files: a part of
// a repository that is replaced by a fork's part is of the fork, whatever it names.
func TestReplacementNamesItsOwn(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"root/kurtosis.yml":                            "name: github.com/me/root\nreplace:\n  github.com/x/mono/app: github.com/f/fork/app@v1\n",
		"root/main.star":                               "",
		"mirror/github.com/x/mono/shared.star":         "original",
		"mirror/github.com/f/fork@v1/app/kurtosis.yml": "name: github.com/x/mono/app\n",
		"mirror/github.com/f/fork@v1/app/a.star":       "a of the fork",
		"mirror/github.com/f/fork@v1/shared.star":      "of the fork",
	})
	p, err := OpenDir(filepath.Join(top, "root"), "", WithFetcher(Mirror{Dir: filepath.Join(top, "mirror")}))
	if err != nil {
		t.Fatal(err)
	}
	app, err := p.Resolve(t.Context(), p.Main(), "github.com/x/mono/app/a.star", OfPackage)
	if err != nil || app.Name != "github.com/f/fork/app/a.star" {
		t.Fatalf("got %q, %v", app.Name, err)
	}
	for locator, want := range map[string]string{
		"./a.star":                      "a of the fork",
		"github.com/x/mono/app/a.star":  "a of the fork",
		"/shared.star":                  "of the fork",
		"../shared.star":                "of the fork",
		"github.com/x/mono/shared.star": "original",
	} {
		if _, got := codeOrText(t, p, app, locator, Anything); got != want {
			t.Errorf("%s: got %q, want %q", locator, got, want)
		}
	}
}

func TestNoWayOut(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{"secret": "secret", "pkg/main.star": "", "pkg/kurtosis.yml": "name: github.com/me/pkg\n", "pkg/dir/x": "x"})
	for name, target := range map[string]string{"abs": filepath.Join(top, "secret"), "rel": "../secret", "dir/out": "../..", "ok": "dir/x"} {
		if err := os.Symlink(target, filepath.Join(top, "pkg", name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := exec.CommandContext(t.Context(), "mkfifo", filepath.Join(top, "pkg/fifo")).Run(); err != nil {
		t.Fatal(err)
	}
	p, err := OpenDir(filepath.Join(top, "pkg"), "")
	if err != nil {
		t.Fatal(err)
	}
	for locator, want := range map[string]string{"abs": "E0117", "rel": "E0117", "dir/out/secret": "E0117", "fifo": "E0114", "ok": "x"} {
		file, err := p.Resolve(context.Background(), p.Main(), locator, Anything)
		text := ""
		if err == nil {
			text, err = p.ReadText(file)
		}
		if f := (*fault.Fault)(nil); errors.As(err, &f) {
			text = f.Code
		}
		if text != want {
			t.Errorf("%s: got %q, %v", locator, text, err)
		}
	}
}

func TestOpenErrors(t *testing.T) {
	top := t.TempDir()
	tree(t, top, map[string]string{
		"none/main.star":                    "",
		"nomain/kurtosis.yml":               "name: github.com/me/pkg\n",
		"local/kurtosis.yml":                "name: github.com/me/pkg\nreplace:\n  github.com/x/y: ./nope\n",
		"local/main.star":                   "",
		"m/github.com/a/b/kurtosis.yml":     "name: github.com/a/other\n",
		"m/github.com/a/b/main.star":        "",
		"m/github.com/a/d/sub/kurtosis.yml": "name: github.com/a/d/sub\n",
		"m/github.com/a/d/sub/main.star":    "",
		"m/github.com/a/d/x.star":           "x",
	})
	open := func(dir string) error { _, err := OpenDir(filepath.Join(top, dir), ""); return err }
	remote := func(locator string) error {
		_, err := OpenRemote(context.Background(), locator, "", Mirror{Dir: filepath.Join(top, "m")})
		return err
	}
	for name, c := range map[string]struct {
		err  error
		code string
	}{
		"no manifest":   {open("none"), "E0110"},
		"no main":       {open("nomain"), "E0112"},
		"no replace":    {open("local"), "E0114"},
		"no directory":  {open("nowhere"), "E0110"},
		"name":          {remote("github.com/a/b"), "E0111"},
		"not there":     {remote("github.com/a/z"), "E0116"},
		"sub-directory": {remote("github.com/a/d"), "E0110"},
	} {
		if f := fault.From(c.err, "none"); f.Code != c.code {
			t.Errorf("%s: got %v", name, c.err)
		}
	}
	p, err := OpenRemote(context.Background(), "github.com/a/d/sub@1", "", Mirror{Dir: filepath.Join(top, "m")})
	if err != nil {
		t.Fatal(err)
	}
	file, err := p.Resolve(context.Background(), p.Main(), "/x.star", Anything)
	if text, readErr := p.ReadText(file); err != nil || readErr != nil || text != "x" {
		t.Errorf("repository root: %v %v", err, readErr)
	}
}

// archived makes a tar of entries; files hold an "x".
func archived(t *testing.T, zip bool, headers ...tar.Header) *bytes.Buffer {
	t.Helper()
	var plain, zipped bytes.Buffer
	out := tar.NewWriter(&plain)
	for _, h := range headers {
		content := "x"
		if h.Typeflag != tar.TypeReg {
			content = ""
		}
		h.Mode, h.Size = 0o755, int64(len(content))
		if err := out.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if !zip {
		return &plain
	}
	w := gzip.NewWriter(&zipped)
	if _, err := w.Write(plain.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &zipped
}

func TestUnpackLeavesOutWhatIsNoFile(t *testing.T) {
	entries := []tar.Header{
		{Name: "./", Typeflag: tar.TypeDir}, {Name: "main.star", Typeflag: tar.TypeReg}, {Name: "lib/", Typeflag: tar.TypeDir},
		{Name: "./lib/x.star", Typeflag: tar.TypeReg}, {Name: "deep/er/y.star", Typeflag: tar.TypeReg},
		{Name: "/rooted", Typeflag: tar.TypeReg},
		{Name: "out", Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}, {Name: "null", Typeflag: tar.TypeChar},
	}
	for _, zip := range []bool{true, false} {
		dir := t.TempDir()
		if err := Unpack(t.Context(), archived(t, zip, entries...), dir, 1<<20); err != nil {
			t.Fatal(err)
		}
		var got []string
		err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() {
				got = append(got, name)
			}
			return err
		})
		if want := []string{"deep/er/y.star", "lib/x.star", "main.star", "rooted"}; err != nil || !slices.Equal(got, want) {
			t.Errorf("zip %v: got %q, %v", zip, got, err)
		}
	}
}

func TestUnpackLimit(t *testing.T) {
	entries := []tar.Header{{Name: "a", Typeflag: tar.TypeReg}, {Name: "b", Typeflag: tar.TypeReg}}
	for limit, fails := range map[int64]bool{2: false, 1: true, 0: true} {
		if err := Unpack(t.Context(), archived(t, true, entries...), t.TempDir(), limit); errors.Is(err, fault.ErrInvalid) != fails {
			t.Errorf("%d bytes: %v", limit, err)
		}
	}
}

func TestUnpackStaysInside(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "in")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(top, filepath.Join(dir, "door")); err != nil {
		t.Fatal(err)
	}
	file := func(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeReg} }
	for name, c := range map[string]struct {
		archive        *bytes.Buffer
		fails, invalid bool
	}{
		"parent":      {archived(t, true, file("../evil")), true, true},
		"grandparent": {archived(t, false, file("/../../evil")), true, true},
		"deeper":      {archived(t, true, file("a/../../evil")), true, true},
		"absolute":    {archived(t, true, file("/evil")), false, false},
		"door":        {archived(t, true, file("door/evil")), true, false},
		"own link":    {archived(t, true, tar.Header{Name: "l", Linkname: top, Typeflag: tar.TypeSymlink}, file("l/evil")), false, false},
		"too long":    {archived(t, true, file(strings.Repeat("d/", 3000)+"x")), true, true},
		"long name":   {archived(t, true, file(strings.Repeat("x", 300))), true, false},
		"no UTF-8":    {archived(t, true, file("caf\xe9")), false, false},
		"two cases":   {archived(t, true, file("Readme"), file("README")), false, false},
		"file as dir": {archived(t, true, file("f"), file("f/x")), true, false},
		"no archive":  {bytes.NewBufferString("hello"), true, true},
		"no gzip":     {bytes.NewBufferString("\x1f\x8bno archive"), true, true},
	} {
		err := Unpack(t.Context(), c.archive, dir, 1<<20)
		if (err != nil) != c.fails || errors.Is(err, fault.ErrInvalid) != c.invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := os.Lstat(filepath.Join(top, "evil")); err == nil {
		t.Error("a file was written outside")
	}
}

func TestParamsJSON(t *testing.T) {
	for in, want := range map[string]string{
		"":                                    "{}",
		"  \n":                                "{}",
		`{"a": 1.0}`:                          `{"a": 1.0}`,
		"a: 1\nb:\n  - x\n  - y: 2.50\n":      `{"a":1,"b":["x",{"true":2.5}]}`,
		"big: 12345678901234567890123":        `{"big":12345678901234567890123}`,
		"hex: 0x10\noct: 0o17\nu: 1_000\n":    `{"hex":16,"oct":15,"u":1000}`,
		"a: yes\nb: true\nc: ~\nd: 'x'\ne:\n": `{"a":true,"b":true,"c":null,"d":"x","e":null}`,
		"z: 1\na: NO\nm: On\nn: 'off'\nb: nO\nc: !!str no\ny: |-\n  y\n": `{"a":false,"b":"nO","c":"no","false":"off","m":true,"true":"y","z":1}`,
		"a: 2.0\nb: 1e3\nc: 0.25\nd: 12345678901234567890\n":             `{"a":2,"b":1000,"c":0.25,"d":12345678901234567890}`,
		"a: &x {k: 1}\nb: *x\nc:\n  <<: *x\n  k: 2\n":                    `{"a":{"k":1},"b":{"k":1},"c":{"k":2}}`,
		"a: \"<é>\\n\"": `{"a":"<é>\n"}`,
		"d: 2024-01-02": `{"d":"2024-01-02"}`,
		"1: x":          `{"1":"x"}`,
		"[1, 2]":        `[1,2]`,
	} {
		if got, err := ParamsJSON(in); err != nil || got != want {
			t.Errorf("%q: got %s, %v", in, got, err)
		}
	}
	_, err := ParamsJSON("{\n  \"a\": 1,\n  \"é\" 2\n}")
	if want := "neither JSON (line 3, column 7: invalid character '2' after object key)"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want the place in the text: %s", err, want)
	}
	bomb := "a: &a [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += string(i) + ": &" + string(i) + " [" + strings.Repeat("*"+string(i-1)+", ", 9) + "*" + string(i-1) + "]\n"
	}
	for _, bad := range []string{"a: [", "a: 1\na: 2\n", "? [x]\n: 1\n", "a: .inf", bomb, "a: &a [*a]", `{"a": 1}}`, "a: 1\n---\nb: 2\n"} {
		if got, err := ParamsJSON(bad); fault.From(err, "none").Code != "E0207" {
			t.Errorf("%.20q: got %.20s, %v", bad, got, err)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add("name: github.com/a/b\nreplace:\n  github.com/x/y: ../y\n")
	f.Add("name: &a [*a]\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := ParseManifest("kurtosis.yml", []byte(text))
		if err == nil {
			if _, err := ParseLocator(m.Name); err != nil {
				t.Errorf("accepted the name %q", m.Name)
			}
		}
	})
}

func FuzzLocator(f *testing.F) {
	f.Add("github.com/a/b@1/../../x.star")
	f.Add("https://github.com/a/b/tree/main/c?x=1#y")
	f.Add("git@github.com:a/b.git")
	f.Fuzz(func(t *testing.T, text string) {
		if meant := fromAddress(text); meant != "" {
			if _, err := ParseLocator(meant); err != nil {
				t.Errorf("%q is told to be %q, which is no locator: %v", text, meant, err)
			}
		}
		l, err := ParseLocator(text)
		if err != nil {
			return
		}
		if other, ok := l.otherwise(); ok && (!isVersion(other.Version) || strings.Contains("/"+other.ID()+"/", "/../")) {
			t.Errorf("%q gives %+v", text, other)
		}
		if strings.Contains("/"+l.ID()+"/", "/../") || strings.HasPrefix(l.Version, "-") || !filepath.IsLocal(l.Repository()+"@"+l.Version) {
			t.Errorf("%q gives %+v", text, l)
		}
	})
}

func FuzzParams(f *testing.F) {
	f.Add("a: 1\nb: [x, {y: 2}]\n")
	f.Add(`{"a": 1}`)
	f.Fuzz(func(_ *testing.T, text string) {
		_, _ = ParamsJSON(text)
	})
}
