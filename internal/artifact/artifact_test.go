package artifact

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/lepto-dev/lepto/internal/fault"
)

func openStore(t *testing.T, limits Limits) *Store {
	t.Helper()
	s, err := Open(filepath.Join(t.TempDir(), "artifacts"), limits)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// build makes a tree, which stays pinned until the test ends.
func build(t *testing.T, s *Store, fill func(*Builder) error) (Tree, error) {
	t.Helper()
	b, err := s.Build(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := fill(b); err != nil {
		return Tree{}, err
	}
	tree, release, err := b.Commit()
	if err == nil {
		t.Cleanup(release)
	}
	return tree, err
}

// entry is a tar entry: a directory if the name ends in "/", a link if it has a
// target, else a file.
type entry struct {
	name, text, link string
	mode             int64
	kind             byte
	at               time.Time
}

func tarOf(t testing.TB, entries ...entry) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.text)), Typeflag: tar.TypeReg, ModTime: e.at, Linkname: e.link}
		switch {
		case e.kind != 0:
			h.Typeflag = e.kind
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		case e.link != "":
			h.Typeflag = tar.TypeSymlink
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.text); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func gzipped(t testing.TB, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// shape gives a directory as text: "sub/", "a=text 644", "l->target".
func shape(t testing.TB, dir string) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(dir, path)
		switch {
		case err != nil || name == ".":
			return err
		case d.IsDir():
			out = append(out, name+"/")
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			out = append(out, name+"->"+target)
			return err
		default:
			info, err := d.Info()
			if err != nil {
				return err
			}
			text, err := os.ReadFile(path)
			out = append(out, fmt.Sprintf("%s=%s %o", name, text, info.Mode()))
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func want(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestUnpackKeepsWhatATreeMayHave(t *testing.T) {
	s := openStore(t, Limits{})
	data := tarOf(t,
		entry{name: "./"},
		entry{name: "a", text: "1", mode: 0o6755}, // set-uid goes
		entry{name: "/rooted/deep/b", text: "2"},
		entry{name: "empty/", mode: 0o700},
		entry{name: "rooted/l", link: "deep/../../a"},
		entry{name: "dangling", link: "nowhere"},
		entry{name: "hard", link: "./a", kind: tar.TypeLink},
		entry{name: "a", text: "again", mode: 0o600},
	)
	compressor, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	hashes := map[string]bool{}
	for _, stream := range [][]byte{data, gzipped(t, data), compressor.EncodeAll(data, nil)} {
		tree, err := build(t, s, func(b *Builder) error { return b.Unpack(bytes.NewReader(stream), Refuse) })
		if err != nil {
			t.Fatal(err)
		}
		hashes[tree.Hash] = true
		want(t, shape(t, s.Dir(tree.Hash)), "a=again 600", "dangling->nowhere", "empty/", "hard=1 755", "rooted/", "rooted/deep/", "rooted/deep/b=2 644", "rooted/l->deep/../../a")
		if tree.Files != 5 || tree.Bytes != 7 {
			t.Errorf("got %+v", tree)
		}
	}
	if len(hashes) != 1 {
		t.Errorf("one content has %d hashes", len(hashes))
	}
}

func TestUnpackRefuses(t *testing.T) {
	long := strings.Repeat("x", 600)
	for name, c := range map[string]struct {
		data []byte
		text string
	}{
		"nothing":           {nil, "it is none"},
		"text":              {[]byte(long), "it is none"},
		"gzip of text":      {gzipped(t, []byte(long)), "it is none"},
		"cut":               {tarOf(t, entry{name: "a", text: long})[:700], "unexpected EOF"},
		"cut gzip":          {gzipped(t, tarOf(t, entry{name: "a", text: long}))[:60], ""},
		"climbs":            {tarOf(t, entry{name: "../a"}), "leads out of the artifact"},
		"climbs later":      {tarOf(t, entry{name: "a/../../b"}), "leads out of the artifact"},
		"no name":           {tarOf(t, entry{name: ".", kind: tar.TypeReg}), "names no file"},
		"absolute link":     {tarOf(t, entry{name: "l", link: "/etc/passwd"}), "leads out of the tree"},
		"climbing link":     {tarOf(t, entry{name: "d/l", link: "../../x"}), "leads out of the tree"},
		"through a link":    {tarOf(t, entry{name: "d/"}, entry{name: "l", link: "d"}, entry{name: "l/x"}), "is a file, and can't be a directory"},
		"through a file":    {tarOf(t, entry{name: "f"}, entry{name: "f/x"}), "is a file, and can't be a directory"},
		"file over dir":     {tarOf(t, entry{name: "d/x"}, entry{name: "d"}), "is a directory, and can't be a file"},
		"hard link out":     {tarOf(t, entry{name: "h", link: "../x", kind: tar.TypeLink}), "leads out of the artifact"},
		"hard link nowhere": {tarOf(t, entry{name: "h", link: "x", kind: tar.TypeLink}), "is no file before it"},
		"device":            {tarOf(t, entry{name: "dev", kind: tar.TypeChar}), `of type '3'`},
		"pipe":              {tarOf(t, entry{name: "p", kind: tar.TypeFifo}), `of type '6'`},
	} {
		t.Run(name, func(t *testing.T) {
			s := openStore(t, Limits{})
			_, err := build(t, s, func(b *Builder) error { return b.Unpack(bytes.NewReader(c.data), Refuse) })
			if f := fault.From(err, "none"); err == nil || f.Code != codeBadArchive || !strings.Contains(f.Summary, c.text) || !errors.Is(err, fault.ErrInvalid) {
				t.Errorf("got %v", err)
			}
			want(t, shape(t, s.dir), "tmp/", "trees/") // nothing is left
		})
	}
}

func TestUnpackSkips(t *testing.T) {
	s := openStore(t, Limits{})
	data := tarOf(t, entry{name: "a"}, entry{name: "l", link: "/proc/mounts"}, entry{name: "d/p", kind: tar.TypeFifo}, entry{name: "in", link: "a"})
	b, err := s.Build(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Unpack(bytes.NewReader(data), Skip); err != nil {
		t.Fatal(err)
	}
	want(t, b.Skipped, "l", "d/p")
	if err := b.Unpack(bytes.NewReader(tarOf(t, entry{name: "../x"})), Skip); err == nil {
		t.Error("an entry that leads out is skipped silently")
	}
}

func TestBombsAreBounded(t *testing.T) {
	many := make([]entry, 0, 20)
	for i := range 20 {
		many = append(many, entry{name: fmt.Sprintf("d%d/f", i)})
	}
	s := openStore(t, Limits{Entries: 30})
	_, err := build(t, s, func(b *Builder) error { return b.Unpack(bytes.NewReader(tarOf(t, many...)), Refuse) })
	if f := fault.From(err, "none"); f.Code != codeBadArchive || !strings.Contains(f.Summary, "more than 30 files") {
		t.Errorf("too many entries: %v", err)
	}
	s = openStore(t, Limits{Free: 1 << 60})
	_, err = build(t, s, func(b *Builder) error {
		return b.Unpack(bytes.NewReader(tarOf(t, entry{name: "a", text: "x"})), Refuse)
	})
	if f := fault.From(err, "none"); f.Code != codeDiskFull {
		t.Errorf("no room: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("enough")
	b, err := openStore(t, Limits{}).Build(ctx, func(int64) { cancel(cause) })
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if err := b.Unpack(bytes.NewReader(tarOf(t, entry{name: "a", text: "x"}, entry{name: "b", text: "x"})), Refuse); !errors.Is(err, cause) {
		t.Errorf("cancelled: %v", err)
	}
}

// files makes a directory of texts by path.
func files(t testing.TB, texts map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		var err error
		if target, isLink := strings.CutPrefix(texts[name], "->"); isLink {
			err = os.Symlink(target, path)
		} else {
			err = errors.Join(os.WriteFile(path, []byte(texts[name]), 0o644), os.Chmod(path, 0o644)) // whatever the umask
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func copyTree(t *testing.T, s *Store, dir, rel string, above ...string) (Tree, error) {
	t.Helper()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	tree, err := build(t, s, func(b *Builder) error { return b.Copy(root, rel, above) })
	if digest, failed := Digest(t.Context(), root, rel, above); (failed == nil) != (err == nil) || err == nil && digest != tree.Hash {
		t.Errorf("the digest of %s is %s, %v, and its hash %s, %v", rel, digest, failed, tree.Hash, err)
	}
	return tree, err
}

// What was packed, unpacked and copied is one tree; when files were last changed
// does not matter.
func TestOneContentIsOneTree(t *testing.T) {
	s := openStore(t, Limits{})
	dir := files(t, map[string]string{"d/a": "1", "d/sub/b": "2", "d/sub/l": "->../a", "d/e/.keep": ""})
	copied, err := copyTree(t, s, dir, "d")
	if err != nil {
		t.Fatal(err)
	}
	old := time.Unix(1, 0)
	if err := os.Chtimes(filepath.Join(dir, "d/a"), old, old); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := PackPath(t.Context(), filepath.Join(dir, "d"), &packed); err != nil {
		t.Fatal(err)
	}
	unpacked, err := build(t, s, func(b *Builder) error { return b.Unpack(&packed, Refuse) })
	if err != nil || unpacked != copied {
		t.Errorf("%+v, %v is not %+v", unpacked, err, copied)
	}
	var again bytes.Buffer
	if err := s.Pack(t.Context(), copied.Hash, &again); err != nil {
		t.Fatal(err)
	}
	to := t.TempDir()
	if err := Extract(t.Context(), &again, to); err != nil {
		t.Fatal(err)
	}
	want(t, shape(t, to), shape(t, filepath.Join(dir, "d"))...)
	if err := os.Chmod(filepath.Join(dir, "d/a"), 0o755); err != nil {
		t.Fatal(err)
	}
	if other, err := copyTree(t, s, dir, "d"); err != nil || other.Hash == copied.Hash {
		t.Errorf("permissions do not count: %v", err)
	}
}

func TestCopy(t *testing.T) {
	dir := files(t, map[string]string{
		"file": "text", "d/a": "1", "d/x.log": "l", "d/sub/y.log": "l", "d/build/z": "", "d/keep/only/q": "", "d/.kurtosisignore": "# no\n*.log\nbuild/\nkeep/only\n",
		"out/l": "->../file", "abs/l": "->/etc/passwd", "ok/l": "->a", "link": "->file", "away": "->/etc",
	})
	s := openStore(t, Limits{})
	for rel, shown := range map[string][]string{
		"file": {"file=text 644"},
		"d":    {".kurtosisignore=# no\n*.log\nbuild/\nkeep/only\n 644", "a=1 644", "keep/", "sub/"},
		"ok":   {"l->a"},
		"link": {"link=text 644"},
	} {
		tree, err := copyTree(t, s, dir, rel)
		if err != nil {
			t.Errorf("%s: %v", rel, err)
			continue
		}
		want(t, shape(t, s.Dir(tree.Hash)), shown...)
	}
	tree, err := copyTree(t, s, dir, "d", "d/sub/y*", "a", "/d/keep/only/")
	if err != nil {
		t.Fatal(err)
	}
	want(t, shape(t, s.Dir(tree.Hash)), ".kurtosisignore=# no\n*.log\nbuild/\nkeep/only\n 644", "keep/", "sub/")
	for _, rel := range []string{"out", "abs"} {
		_, err := copyTree(t, s, dir, rel)
		if f := fault.From(err, "none"); f.Code != codeBadTree || !strings.Contains(f.Summary, `the link "l" leads out of the directory`) {
			t.Errorf("%s: %v", rel, err)
		}
	}
	if _, err := copyTree(t, s, dir, "away"); err == nil {
		t.Error("a link out of the root is followed")
	}
}

func TestUnpackOr(t *testing.T) {
	s := openStore(t, Limits{})
	for text, shown := range map[string]string{"plain": "f.txt=plain 644", string(gzipped(t, tarOf(t, entry{name: "in", text: "x"}))): "in=x 644", "": "f.txt= 644"} {
		tree, err := build(t, s, func(b *Builder) error { return b.UnpackOr("f.txt", strings.NewReader(text)) })
		if err != nil {
			t.Fatal(err)
		}
		want(t, shape(t, s.Dir(tree.Hash)), shown)
	}
}

func TestCollectKeepsWhatIsWanted(t *testing.T) {
	s := openStore(t, Limits{})
	file := func(text string) Tree {
		b, err := s.Build(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		if err := b.File("f", func(w io.Writer) error { _, err := io.WriteString(w, text); return err }); err != nil {
			t.Fatal(err)
		}
		tree, release, err := b.Commit()
		if err != nil {
			t.Fatal(err)
		}
		release()
		return tree
	}
	live, pinned, dead := file("live"), file("pinned"), file("dead")
	release, err := s.Pin(pinned.Hash)
	if err != nil {
		t.Fatal(err)
	}
	collect := func() {
		if err := s.Collect(func() map[string]bool { return map[string]bool{live.Hash: true} }); err != nil {
			t.Fatal(err)
		}
	}
	collect()
	if _, err := s.Pin(dead.Hash); !errors.Is(err, fault.ErrNotFound) {
		t.Errorf("a dead tree is there: %v", err)
	}
	release()
	release() // once counts
	collect()
	want(t, shape(t, s.dir), "tmp/", "trees/", "trees/"+live.Hash+"/", "trees/"+live.Hash+"/f=live 644")
}

// What a process was writing when it ended is gone at the next start.
func TestOpenSweeps(t *testing.T) {
	s := openStore(t, Limits{})
	b, err := s.Build(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.File("f", func(io.Writer) error { return nil }); err != nil {
		t.Fatal(err)
	}
	again, err := Open(s.dir, Limits{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, shape(t, again.dir), "tmp/", "trees/")
}

func TestEntries(t *testing.T) {
	s := openStore(t, Limits{})
	dir := files(t, map[string]string{"a/text": "one\n\ttwo\n", "bin": "\x00\x01", "l": "->bin", "long": strings.Repeat("y", maxLine+1)})
	tree, err := copyTree(t, s, dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	got, err := s.Entries(t.Context(), tree.Hash, true)
	if err != nil {
		t.Fatal(err)
	}
	wanted := []Entry{{Path: "a/"}, {Path: "a/text", Size: 9, Preview: "one\n\ttwo\n", IsText: true}, {Path: "bin", Size: 2}, {Path: "l", Size: 3, Link: "bin"}, {Path: "long", Size: maxLine + 1}}
	if !slices.Equal(got, wanted) {
		t.Errorf("got %+v", got)
	}
}

func TestPaths(t *testing.T) {
	p := Paths{}
	for _, c := range []struct{ name, clean, wrong string }{
		{"/a/./b", "a/b", ""}, {"a/b/", "", "is named twice"}, {"a", "", "is a directory"}, {"a/b/c", "", `leads through "a/b"`},
		{"..", "", "leads out"}, {"x/../../y", "", "leads out"}, {"///", "", "names no file"}, {"a\x00", "", "has a character"}, {"...", "...", ""},
	} {
		clean, err := p.Add(c.name)
		if clean != c.clean || (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%q: got %q, %v", c.name, clean, err)
		}
	}
}

// FuzzUnpack: whatever an archive says, nothing outside of the directory is
// written, and what is written has no link out of it.
func FuzzUnpack(f *testing.F) {
	f.Add(tarOf(f, entry{name: "a", text: "x"}, entry{name: "d/l", link: "../a"}, entry{name: "h", link: "a", kind: tar.TypeLink}))
	f.Add(tarOf(f, entry{name: "../a"}, entry{name: "l", link: "/"}, entry{name: "l/x"}))
	f.Add(gzipped(f, tarOf(f, entry{name: "d/"}, entry{name: "d", link: "."}, entry{name: "d/x"})))
	f.Fuzz(func(t *testing.T, data []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		err := Extract(t.Context(), bytes.NewReader(data), dir)
		if entries, _ := os.ReadDir(outer); len(entries) != 1 {
			t.Fatalf("something lies beside the directory: %v", entries)
		}
		for _, line := range shape(t, dir) {
			if name, target, isLink := strings.Cut(line, "->"); isLink && leadsOut(name, target) {
				t.Fatalf("%s leads out (%v)", line, err)
			}
		}
	})
}

func TestOpenFile(t *testing.T) {
	s := openStore(t, Limits{})
	tree, err := build(t, s, func(b *Builder) error {
		return b.Unpack(bytes.NewReader(tarOf(t, entry{name: "d/"}, entry{name: "d/a", text: "content"}, entry{name: "d/l", link: "a"}, entry{name: "none", link: "d/none"})), Refuse)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc/hostname", filepath.Join(s.Dir(tree.Hash), "out")); err != nil { // by somebody else
		t.Fatal(err)
	}
	for name, want := range map[string]string{"d/a": "content", "/d/a": "content", "d/l": "content", "d": "", "none": "", "x": "", "out": "", "../x": "", "": ""} {
		file, err := s.OpenFile(tree.Hash, name)
		if want == "" {
			if !errors.Is(err, fault.ErrNotFound) {
				t.Errorf("%q: %v", name, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", name, err)
			continue
		}
		got, err := io.ReadAll(file)
		if string(got) != want || errors.Join(err, file.Close()) != nil {
			t.Errorf("%q: %q, %v", name, got, err)
		}
	}
}
