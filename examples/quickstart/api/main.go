// Command api is the quickstart's front: it serves the datastore's greeting, and
// is a small client of the datastore too.
//
//	api serve [-listen ADDR]   serve the greeting over HTTP
//	api set KEY VALUE          store a value
//	api get KEY                print a value
//
// DATASTORE_URL names the datastore.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

type client struct {
	base string
	http http.Client
}

func main() {
	log.SetFlags(0)
	c := &client{base: os.Getenv("DATASTORE_URL"), http: http.Client{Timeout: 5 * time.Second}}
	if err := command(c, os.Args[1:]); err != nil {
		log.Fatalf("api: %v", err)
	}
}

func command(c *client, args []string) error {
	switch {
	case c.base == "":
		return errors.New("DATASTORE_URL is not set")
	case len(args) > 0 && args[0] == "serve":
		return serve(c, args[1:])
	case len(args) == 3 && args[0] == "set":
		if err := c.put(args[1], args[2]); err != nil {
			return err
		}
		fmt.Printf("%s is now %q", args[1], args[2])
		return nil
	case len(args) == 2 && args[0] == "get":
		value, err := c.get(args[1])
		fmt.Print(value)
		return err
	}
	return errors.New("usage: api serve [-listen ADDR] | set KEY VALUE | get KEY")
}

func serve(c *client, args []string) error {
	flags := flag.NewFlagSet("serve", flag.ContinueOnError)
	listen := flags.String("listen", ":8080", "address to serve on")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	server := &http.Server{Addr: *listen, ReadHeaderTimeout: 5 * time.Second}
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		value, err := c.get("greeting")
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		fmt.Fprintln(w, value)
	})
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	log.Printf("api: listening on %s, datastore at %s", *listen, c.base)
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

func (c *client) url(key string) string { return c.base + "/keys/" + url.PathEscape(key) }

func (c *client) get(key string) (string, error) {
	response, err := c.http.Get(c.url(key))
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("get %q: %s", key, response.Status)
	}
	return string(body), err
}

func (c *client) put(key, value string) error {
	request, err := http.NewRequest(http.MethodPut, c.url(key), strings.NewReader(value))
	if err != nil {
		return err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		return fmt.Errorf("set %q: %s", key, response.Status)
	}
	return nil
}
