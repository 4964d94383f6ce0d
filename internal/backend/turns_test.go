package backend

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsSerialiseOneServiceOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turns[ServiceName]
		release, err := l.One(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		other, err := l.One(t.Context(), "b")
		if err != nil {
			t.Fatal(err)
		}
		got := false
		go func() {
			again, err := l.One(t.Context(), "a")
			if err == nil {
				got = true
				again()
			}
		}()
		synctest.Wait()
		if got {
			t.Error("two calls held one service")
		}
		release()
		synctest.Wait()
		if !got {
			t.Error("the second call did not get its turn")
		}
		other()
	})
}

func TestTurnsAllWaitsForServicesAndEndsWithContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var l Turns[ServiceName]
		release, _ := l.One(t.Context(), "a")
		cause := errors.New("enough")
		ctx, cancel := context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if _, err := l.All(ctx); !errors.Is(err, cause) {
			t.Fatalf("got %v, want the cause", err)
		}
		release()
		all, err := l.All(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel = context.WithTimeoutCause(t.Context(), time.Second, cause)
		defer cancel()
		if _, err := l.One(ctx, "b"); !errors.Is(err, cause) {
			t.Fatalf("got %v, want the cause", err)
		}
		all()
		if release, err = l.One(t.Context(), "b"); err != nil {
			t.Fatal(err)
		}
		release()
	})
}
