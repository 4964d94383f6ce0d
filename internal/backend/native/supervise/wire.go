package supervise

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/fault"
)

// This file defines what travels over a supervisor's socket: frames of JSON,
// each with its length (4 bytes, big endian) before it, with file descriptors
// attached where said. A connection carries one request and its answers.

// Op is a request's verb.
type Op string

// The verbs. Each is answered by one Reply, except OpExec.
const (
	OpState   Op = "state"
	OpWait    Op = "wait"    // answered at the next end of the process
	OpStop    Op = "stop"    // answered once it has ended
	OpKill    Op = "kill"    // the same, at once and not restarted
	OpPause   Op = "pause"   //
	OpUnpause Op = "unpause" //
	OpDestroy Op = "destroy" // kill; the supervisor ends as well
	OpEmpty   Op = "empty"   // kill, and take all of the container away
	OpFill    Op = "fill"    // after empty: make the container of spec.json

	// OpExec comes with three descriptors: stdin, stdout, stderr; none with a
	// terminal. It is answered by Started (with the terminal's descriptor), then
	// by Ended. In between the client may send OpSignal. Closing the connection
	// kills what was started.
	OpExec   Op = "exec"
	OpSignal Op = "signal"
)

// Request asks a supervisor for something.
type Request struct {
	Op     Op            `json:"op"`
	Grace  time.Duration `json:"grace,omitempty"`
	Exec   *ExecRequest  `json:"exec,omitempty"`
	Signal int           `json:"signal,omitempty"`
}

// ExecRequest is a command to run in the container.
type ExecRequest struct {
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"`
	Cwd  string   `json:"cwd,omitempty"`
	User string   `json:"user,omitempty"`
	TTY  bool     `json:"tty,omitempty"`
	Cols uint16   `json:"cols,omitempty"`
	Rows uint16   `json:"rows,omitempty"`
}

// Reply is a supervisor's answer.
type Reply struct {
	State   *State        `json:"state,omitempty"`
	Exit    *backend.Exit `json:"exit,omitempty"`
	Started bool          `json:"started,omitempty"`
	Ended   bool          `json:"ended,omitempty"`
	Code    int           `json:"code,omitempty"`
	Reason  string        `json:"reason,omitempty"` // with Code 126 or 127: why it can't run
	OOM     bool          `json:"oom,omitempty"`    // with a Code: the kernel killed for memory meanwhile
	Error   *Failure      `json:"error,omitempty"`
}

// maxFrame bounds a frame: an environment and arguments are at most 2 MiB or
// so (execve(2)), in JSON a few times that.
const maxFrame = 16 << 20

// Send writes a frame, with descriptors attached to its start.
func Send(c *net.UnixConn, v any, fds ...int) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	frame := make([]byte, 4, 4+len(body))
	binary.BigEndian.PutUint32(frame, uint32(len(body)))
	frame = append(frame, body...)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	n, _, err := c.WriteMsgUnix(frame, oob, nil)
	if err != nil || n == len(frame) {
		return err
	}
	_, err = c.Write(frame[n:])
	return err
}

// Receive reads a frame into v, and the descriptors that came with it. The
// caller closes them, also after an error.
func Receive(c *net.UnixConn, v any) ([]*os.File, error) {
	var head [4]byte
	oob := make([]byte, unix.CmsgSpace(4*4))
	n, oobn, _, _, err := c.ReadMsgUnix(head[:], oob)
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	files, err := descriptors(oob[:oobn])
	if err != nil {
		return files, err
	}
	if _, err := io.ReadFull(c, head[n:]); err != nil {
		return files, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > maxFrame {
		return files, fmt.Errorf("frame of %d bytes: %w", size, fault.ErrInvalid)
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c, body); err != nil {
		return files, err
	}
	return files, json.Unmarshal(body, v)
}

func descriptors(oob []byte) ([]*os.File, error) {
	if len(oob) == 0 {
		return nil, nil
	}
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil {
		return nil, err
	}
	var files []*os.File
	for _, m := range messages {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			continue
		}
		for _, fd := range fds {
			unix.CloseOnExec(fd)
			files = append(files, os.NewFile(uintptr(fd), "passed:"+strconv.Itoa(fd)))
		}
	}
	return files, nil
}

// Fail turns an error into what can travel.
func Fail(err error) *Failure {
	if err == nil {
		return nil
	}
	f := fault.From(err, CodeRuntime)
	out := &Failure{Code: f.Code, Summary: f.Summary, Hint: f.Hint}
	for name, kind := range kinds {
		if errors.Is(err, kind) {
			out.Kind = name
		}
	}
	return out
}

// Err turns a failure back into an error: a *fault.Fault that wraps the
// sentinel the original wrapped. Nil for nil.
func (f *Failure) Err() error {
	if f == nil {
		return nil
	}
	return &fault.Fault{Code: f.Code, Summary: f.Summary, Hint: f.Hint, Cause: kinds[f.Kind]}
}

// SocketPath gives a name for dir's socket that fits into a socket address
// (108 bytes, unix(7)) however deep dir is. It is good while the returned file
// is open.
func SocketPath(dir string) (string, *os.File, error) {
	f, err := os.OpenFile(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return "", nil, err
	}
	return "/proc/self/fd/" + strconv.Itoa(int(f.Fd())) + "/" + fileSock, f, nil
}
