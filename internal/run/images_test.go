package run

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/lepto-dev/lepto/internal/backend"
	"github.com/lepto-dev/lepto/internal/backend/memory"
)

// counting is a backend that counts the images in work.
type counting struct {
	private
	now, most atomic.Int32
	full      sync.Once
	gate      chan struct{}
}

func (c *counting) EnsureImage(ctx context.Context, req backend.ImageRequest, p backend.ProgressFunc) (backend.ImageInfo, error) {
	n := c.now.Add(1)
	defer c.now.Add(-1)
	for old := c.most.Load(); n > old && !c.most.CompareAndSwap(old, n); old = c.most.Load() {
	}
	if n == imagesAtOnce {
		c.full.Do(func() { close(c.gate) }) // as many as may be are here at once
	}
	select {
	case <-c.gate:
	case <-ctx.Done():
		return backend.ImageInfo{}, context.Cause(ctx)
	}
	return c.private.EnsureImage(ctx, req, p)
}

func TestImages(t *testing.T) {
	var missing []string
	text := "def run(plan):\n"
	for i := range 9 {
		text += fmt.Sprintf("    plan.add_service(\"s%d\", ServiceConfig(image = \"image:%d\"))\n", i, i)
		if i%3 == 0 {
			missing = append(missing, fmt.Sprintf("image:%d", i))
		}
	}
	be := &counting{private: memoryBackend(memory.Options{
		Missing: missing, Images: map[string]memory.Image{"image:1": {Architecture: "s390x", Cmd: []string{"pause"}}},
	}).(private), gate: make(chan struct{})}
	e := newEnclave(t, be)
	events := gather(t, newRunner(t, realHost()), e, script(text))
	if n := be.most.Load(); n != imagesAtOnce {
		t.Errorf("%d images were in work at once", n)
	}
	errs := errorsOf(events)
	if len(errs) != 3 {
		t.Fatalf("%d errors: every missing image is told", len(errs))
	}
	for i, p := range errs {
		if p.Phase != Validation || len(p.Stack) == 0 || p.Stack[0].Line != 2+3*i || p.Excerpt == nil {
			t.Errorf("%s at %v", p.Summary, p.Stack)
		}
	}
	var warnings []string
	for _, event := range events {
		if event.Image != nil && event.Image.Warning != "" {
			warnings = append(warnings, event.Image.Warning)
		}
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `image "image:1" is built for s390x, but this host runs amd64`) {
		t.Errorf("warnings %q", warnings)
	}
	if len(e.Services()) > 0 || doneOf(t, events).Steps > 0 {
		t.Error("something was executed")
	}
}
