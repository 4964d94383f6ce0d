//go:build !race

// The race detector takes several times the memory that it looks after, so that the
// most a process had says nothing there: "make test" runs these without it.

package lang_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"

	"github.com/lepto-dev/lepto/internal/fault"
	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/source"
)

// childVariable has the script that a child process of TestPeakMemory interprets.
const childVariable = "LEPTO_TEST_PEAK_SCRIPT"

// peak is what a child process tells.
type peak struct {
	Code, Text string
	Frames     int
	MiB        int // of memory that it had at most, beside what it began with
}

// A child has a small limit, so that the table is gone through in a minute; with
// the variable set it has DefaultMemoryLimit (make peak).
const (
	fullVariable = "LEPTO_TEST_PEAK_FULL"
	smallMiB     = 96
	// beyondMiB is what a child may have above its limit: what is made before it is
	// seen, and what the collector has not given back.
	beyondMiB = 256
)

// moving are the cases in which one step, which is not announced, moves all there is
// to a larger place, and by how many times the limit they may go beyond it.
var moving = map[string]int{"keys": 2, "dict comprehension": 2, "elements": 1, "comprehension of numbers": 1}

// greedy are scripts that grow without end, each in a way of its own, and the code
// of the error that ends them.
var greedy = map[string]struct{ body, code string }{
	"doubled text":             {`s = "x" * 1000; for i in range(60): s = s + s`, "E0205"},
	"doubled text in place":    {`s = "x" * 1000; for i in range(60): s += s`, "E0205"},
	"doubled text in a dict":   {`d = {1: "x" * 1000}; for i in range(60): d[1] += d[1]`, "E0205"},
	"doubled list":             {`l = [0] * 1000; for i in range(60): l = l + l`, "E0205"},
	"doubled list in place":    {`l = [0] * 1000; for i in range(60): l += l`, "E0205"},
	"doubled list in a dict":   {`d = {1: [0] * 1000}; for i in range(60): d[1] += d[1]`, "E0205"},
	"doubled tuple":            {`t = (0,) * 1000; for i in range(60): t += t`, "E0205"},
	"doubled bytes":            {`b = b"x" * 1000; for i in range(60): b += b`, "E0205"},
	"extended by itself":       {`l = [0] * 1000; for i in range(60): l.extend(l)`, "E0205"},
	"extended bound method":    {`l = [0] * 1000; f = l.extend; for i in range(60): f(l)`, "E0205"},
	"repeated texts":           {`l = []; for i in range(1000): l.append("x" * 50000000)`, "E0205"},
	"repeated lists":           {`l = []; for i in range(1000): l.append([0] * 5000000)`, "E0205"},
	"small texts":              {`l = []; for i in range(20000000): l.append("x" * 4000)`, "E0205"},
	"elements":                 {`l = []; for i in range(100000000): l.append(i)`, "E0203|E0205"},
	"comprehension":            {`l = [[i] for i in range(100000000)]`, "E0205"},
	"comprehension of numbers": {`l = [0 for i in range(100000000)]`, "E0203|E0205"},
	"nested lists":             {`l = [0]; for i in range(100000000): l = [l, i]`, "E0205"},
	"keys":                     {`d = {}; for i in range(100000000): d[i] = i`, "E0205"},
	"dict comprehension":       {`d = {i: [i] for i in range(100000000)}`, "E0205"},
	"copied dicts":             {`d = {i: i for i in range(10000)}; l = []; for i in range(100000): l.append(dict(d))`, "E0205"},
	"united dicts":             {`d = {i: i for i in range(10000)}; l = []; for i in range(100000): l.append(d | {})`, "E0205"},
	"updated dicts":            {`d = {i: i for i in range(10000)}; l = []; for i in range(100000): e = {}; e.update(d); l.append(e)`, "E0205"},
	"parts of a list":          {`d = [0] * 1000000; l = []; for i in range(100000): l.append(d[:])`, "E0205"},
	"parts of a tuple":         {`d = (0,) * 1000000; l = []; for i in range(100000): l.append(d[::-1])`, "E0205"},
	"parts of a text":          {`d = "x" * 10000000; l = []; for i in range(100000): l.append(d[::-1])`, "E0205"},
	"lists of ranges":          {`l = []; for i in range(100000): l.append(list(range(1000000)))`, "E0205"},
	"enumerated":               {`d = [0] * 10000000; l = enumerate(d)`, "E0205"},
	"enumerated often":         {`d = [0] * 100000; l = [enumerate(d) for i in range(100000)]`, "E0205"},
	"zipped":                   {`d = [0] * 4000000; l = zip(d, d, d, d)`, "E0205"},
	"sorted":                   {`d = [0] * 1000000; l = [sorted(d) for i in range(100000)]`, "E0205"},
	"reversed":                 {`d = [0] * 1000000; l = [reversed(d) for i in range(100000)]`, "E0205"},
	"items":                    {`d = {i: i for i in range(100000)}; l = [d.items() for i in range(100000)]`, "E0205"},
	"keys of dicts":            {`d = {i: i for i in range(100000)}; l = [d.keys() for i in range(100000)]`, "E0205"},
	"spread":                   {`f = lambda *a: a; d = [0] * 1000000; l = [f(*d) for i in range(100000)]`, "E0205"},
	"spread named":             {`f = lambda **a: a; d = {str(i): i for i in range(10000)}; l = [f(**d) for i in range(100000)]`, "E0205"},
	"structs":                  {`d = {str(i): i for i in range(10000)}; l = [struct(**d) for i in range(100000)]`, "E0205"},
	"joined":                   {`s = "x" * 1000000; l = [",".join([s] * 10) for i in range(100000)]`, "E0205"},
	"joined once":              {`s = "x" * 1000000; t = "".join([s] * 250)`, "E0205"},
	"replaced":                 {`s = "x" * 1000; for i in range(20): s = s.replace("x", "xx" * 10)`, "E0205"},
	"formatted":                {`s = "x" * 1000; for i in range(60): s = "{0}{0}".format(s)`, "E0205"},
	"percent":                  {`s = "x" * 1000; for i in range(60): s = "%s%s" % (s, s)`, "E0205"},
	"percent quoted":           {`s = "\x00" * 60000000; t = "%r%r" % (s, s)`, "E0205"},
	"upper":                    {`s = "x" * 10000000; l = [s.upper() for i in range(100000)]`, "E0205"},
	"split":                    {`s = "x," * 8000000; l = s.split(",")`, "E0205"},
	"split by spaces":          {`s = "x " * 8000000; l = s.split()`, "E0205"},
	"split often":              {`s = "x," * 100000; l = [s.split(",") for i in range(10000)]`, "E0205"},
	"lines":                    {`s = "x\n" * 100000; l = [s.splitlines() for i in range(10000)]`, "E0205"},
	"code points":              {`s = "x" * 10000000; l = list(s.codepoints())`, "E0205"},
	"elements of text":         {`s = "x" * 10000000; l = list(s.elems())`, "E0205"},
	"shown":                    {`x = ["x" * 100]; for i in range(60): x = [x, x]; str(x)`, "E0205"},
	"shown quoted":             {`x = "\x00" * 120000000; repr(x)`, "E0205"},
	"encoded":                  {`x = "\x00" * 120000000; json.encode(x)`, "E0205"},
	"encoded often":            {`x = "x" * 10000000; l = [json.encode(x) for i in range(10000)]`, "E0205"},
	"decoded":                  {`x = "[" + "[]," * 5000000 + "0]"; json.decode(x)`, "E0205"},
	"decoded often":            {`x = json.encode(list(range(100000))); l = [json.decode(x) for i in range(10000)]`, "E0205"},
	"indented":                 {`x = "[" * 900 + "0," * 1000000 + "0" + "]" * 900; json.indent(x)`, "E0205"},
	"indented widely":          {`json.indent("[1,2,3,4,5,6]", indent = "x" * 100000000)`, "E0205"},
	"printed":                  {`x = "x" * 10000000; for i in range(100): plan.print(x)`, "E0205"},
	"printed quoted":           {`x = "\x00" * 15000000; for i in range(100): plan.print(x)`, "E0205"},
	"arguments":                {`x = [[0]] * 1000000; for i in range(1000): plan.print(x)`, "E0205"},
	"returned":                 {`x = [0] * 1000000; x = [[[[[[[[x]]]]]]]]; return x`, ""},
	"large integers":           {`x = 3; l = []; for i in range(10000): x = x * x; l.append(x)`, "E0205"},
}

func TestPeakMemory(t *testing.T) {
	limit := smallMiB
	if os.Getenv(fullVariable) != "" {
		limit = lang.DefaultMemoryLimit >> 20
	}
	for name, c := range greedy {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			most := limit*(1+moving[name]) + beyondMiB
			p := runChild(t, scriptOf(c.body))
			t.Logf("%d MiB; %s %s", p.MiB, p.Code, p.Text)
			if p.MiB > most {
				t.Errorf("%d MiB, want at most %d", p.MiB, most)
			}
			if !strings.Contains("|"+c.code+"|", "|"+p.Code+"|") {
				t.Errorf("error %q (%s), want %q", p.Code, p.Text, c.code)
			}
			if p.Code != "" && p.Frames == 0 {
				t.Errorf("no position: %s", p.Text)
			}
		})
	}
}

// scriptOf makes a script of statements, of which those after a colon are in a loop
// till the end, but for the last that begins another line.
func scriptOf(body string) string {
	indent, out := "    ", "def run(plan):\n"
	for _, line := range strings.Split(body, "; ") {
		head, rest, loop := strings.Cut(line, ": ")
		if !loop || !strings.HasPrefix(line, "for ") {
			out += indent + line + "\n"
			continue
		}
		out += indent + head + ":\n"
		indent += "    "
		out += indent + rest + "\n"
	}
	return out
}

func runChild(t *testing.T, script string) (p peak) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestPeakMemoryChild$")
	cmd.Env = append(os.Environ(), childVariable+"="+script)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s\n%s", err, script, out)
	}
	line, _, _ := strings.Cut(string(out), "\n")
	if err := json.Unmarshal([]byte(line), &p); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return p
}

// TestPeakMemoryChild is the child, which collects garbage as rarely as an engine,
// but has no soft limit.
func TestPeakMemoryChild(t *testing.T) {
	script := os.Getenv(childVariable)
	if script == "" {
		return // it is nobody's child
	}
	const percent = 400
	debug.SetGCPercent(percent)
	debug.SetMemoryLimit(1 << 40)
	var limit uint64 = smallMiB << 20
	if os.Getenv(fullVariable) != "" {
		limit = 0
	}
	before := peakKiB(t)
	_, err := testHost.Interpret(t.Context(), lang.Request{Package: source.OpenScript("s.star", script), NewID: countedIDs(), MemoryLimit: limit})
	p := peak{MiB: (peakKiB(t) - before) >> 10}
	if err != nil {
		f := fault.From(err, "none")
		p.Code, p.Text, p.Frames = f.Code, f.Error(), len(f.At)
		if f.Hint == "" {
			t.Error("no hint")
		}
	}
	line, _ := json.Marshal(p)
	fmt.Println(string(line))
}

// peakKiB gives the most memory that this process ever had.
func peakKiB(t *testing.T) int {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	n, err := strconv.Atoi(strings.TrimSpace(strings.SplitN(rest, "kB", 2)[0]))
	if err != nil {
		t.Fatal(err)
	}
	return n
}
