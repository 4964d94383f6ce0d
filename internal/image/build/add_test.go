package build

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/lepto-dev/lepto/internal/backend"
)

// archiveOf makes a tar of headers; Linkname of a file is its content.
func archiveOf(t testing.TB, headers ...tar.Header) string {
	t.Helper()
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for _, h := range headers {
		content := ""
		if h.Typeflag == tar.TypeReg {
			content, h.Linkname = h.Linkname, ""
			h.Size = int64(len(content))
		}
		err := w.WriteHeader(&h)
		if _, werr := w.Write([]byte(content)); err != nil || werr != nil {
			t.Fatal(err, werr)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func gz(t testing.TB, content string) string {
	t.Helper()
	var buf bytes.Buffer
	w := gzip.NewWriter(&buf)
	_, err := w.Write([]byte(content))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

func zst(t testing.TB, content string) string {
	t.Helper()
	w, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(w.EncodeAll([]byte(content), nil))
}

func xzOf(t testing.TB, content string) string {
	t.Helper()
	var buf bytes.Buffer
	w, err := xz.NewWriter(&buf)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write([]byte(content))
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return buf.String()
}

// built builds a Dockerfile with files beside it, and lists the image.
func built(t *testing.T, dockerfile string, files map[string]string) ([]string, error) {
	t.Helper()
	dir, s := t.TempDir(), testStore(t)
	write(t, dir, files)
	write(t, dir, map[string]string{"Dockerfile": dockerfile})
	for range 2 { // the second time from the cache
		if _, err := Build(testContext(t), s, nil, backend.BuildSpec{Tag: "x", ContextDir: dir}, nil); err != nil {
			return nil, err
		}
	}
	img, err := s.Resolve("x")
	if err != nil {
		t.Fatal(err)
	}
	return listing(t, viewOf(img.Layers)), nil
}

func sameLines(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestAddUnpacksArchives(t *testing.T) {
	plain := archiveOf(t,
		tar.Header{Typeflag: tar.TypeDir, Name: "./", Mode: 0o700},
		tar.Header{Typeflag: tar.TypeReg, Name: "./lib/x", Linkname: "content", Mode: 0o640, Uid: 3, Gid: 4},
		tar.Header{Typeflag: tar.TypeLink, Name: "hard", Linkname: "lib/x"},
		tar.Header{Typeflag: tar.TypeSymlink, Name: "soft", Linkname: "/lib/x"})
	files := map[string]string{"a.tar": plain, "a.tgz": gz(t, plain), "a.zst": zst(t, plain), "a.xz": xzOf(t, plain), "notes.gz": gz(t, "no tar"), "link": "l"}
	for _, name := range []string{"a.tar", "a.tgz", "a.zst", "a.xz"} {
		got, err := built(t, "FROM scratch\nADD "+name+" /opt\n", files)
		if err != nil {
			t.Fatal(err)
		}
		sameLines(t, got, "drwxr-xr-x 0:0 opt", `-rw-r----- 3:4 opt/hard "content"`, "drwxr-xr-x 0:0 opt/lib",
			`-rw-r----- 3:4 opt/lib/x "content"`, "Lrwxrwxrwx 0:0 opt/soft -> /lib/x")
	}
	got, err := built(t, "FROM scratch\nADD notes.gz link /d/\nADD --chown=9 --chmod=600 a.tar /e/\nADD --unpack=false a.tar /kept\n", files)
	if err != nil {
		t.Fatal(err)
	}
	got[2] = got[2][:len("-rw-r--r-- 0:0 d/notes.gz")]
	sameLines(t, got, "drwxr-xr-x 0:0 d", `-rw-r--r-- 0:0 d/link "l"`, "-rw-r--r-- 0:0 d/notes.gz",
		"drwxr-xr-x 9:9 e", `-rw------- 9:9 e/hard "content"`, "drwxr-xr-x 0:0 e/lib", `-rw------- 9:9 e/lib/x "content"`,
		"Lrwxrwxrwx 9:9 e/soft -> /lib/x", "-rw-r--r-- 0:0 kept large")
}

func TestAddRefusesBadArchives(t *testing.T) {
	for name, test := range map[string]struct{ content, want string }{
		"climbing":  {archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "../../x", Linkname: "1"}), "leads out of it"},
		"hard link": {archiveOf(t, tar.Header{Typeflag: tar.TypeLink, Name: "x", Linkname: "../../etc/passwd"}), "leads out of it"},
		"whiteout":  {archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: ".wh.x"}), "mark removed files"},
		"cut short": {archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "x", Linkname: strings.Repeat("1", 2000)})[:1000], "unexpected EOF"},
	} {
		_, err := built(t, "FROM scratch\nADD f /\n", map[string]string{"f": test.content})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: error is %v, want %q", name, err, test.want)
		}
	}
}

func TestAddFollowsSymlinksBelow(t *testing.T) {
	got, err := built(t, "FROM scratch\nADD base.tar /\nADD more.tar /\n", map[string]string{
		"base.tar": archiveOf(t, tar.Header{Typeflag: tar.TypeDir, Name: "usr/lib/", Mode: 0o711}, tar.Header{Typeflag: tar.TypeSymlink, Name: "lib", Linkname: "usr/lib"}),
		"more.tar": archiveOf(t, tar.Header{Typeflag: tar.TypeReg, Name: "lib/x", Linkname: "1", Mode: 0o644}),
	})
	if err != nil {
		t.Fatal(err)
	}
	sameLines(t, got, "Lrwxrwxrwx 0:0 lib -> usr/lib", "drwxr-xr-x 0:0 usr", "drwx--x--x 0:0 usr/lib", `-rw-r--r-- 0:0 usr/lib/x "1"`)
}

func TestAddFetchesURLs(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/dl/tool" {
			http.NotFound(w, r)
			return
		}
		fmt.Fprint(w, "fetched")
	}))
	defer server.Close()
	sum := fmt.Sprintf("sha256:%x", sha256.Sum256([]byte("fetched")))
	got, err := built(t, "FROM scratch\nADD "+server.URL+"/dl/tool?x=1 /bin/\nADD --chmod=755 --checksum="+sum+" "+server.URL+"/dl/tool /run\n", nil)
	if err != nil {
		t.Fatal(err)
	}
	sameLines(t, got, "drwxr-xr-x 0:0 bin", `-rw------- 0:0 bin/tool "fetched"`, `-rwxr-xr-x 0:0 run "fetched"`)
	for dockerfile, want := range map[string]string{
		"ADD " + server.URL + "/gone /x":                         "404 Not Found",
		"ADD --checksum=sha256:00 " + server.URL + "/dl/tool /x": "what the URL gives is sha256:",
		"ADD " + server.URL + "/ /x/":                            "names no file",
		"ADD git@example.com:a/b.git /x":                         "git repository",
	} {
		_, err := built(t, "FROM scratch\n"+dockerfile+"\n", nil)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "Dockerfile:2: ADD") {
			t.Errorf("%s: error is %v, want %q", dockerfile, err, want)
		}
	}
}
