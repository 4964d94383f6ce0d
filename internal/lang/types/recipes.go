package types

import (
	"fmt"

	"go.starlark.net/starlark"

	"github.com/lepto-dev/lepto/internal/lang"
	"github.com/lepto-dev/lepto/internal/recipe"
)

// This file defines the recipes: what to run or ask, and what to extract.

// ExecRecipe runs a command in a service.
type ExecRecipe struct {
	_       struct{}          `doc:"A command to run in a service, directly, without a shell."`
	Command []string          `star:"command,deep" doc:"the command and its arguments"`
	Extract map[string]string `star:"extract,?,deep" doc:"names to jq queries; a query sees the output as one JSON string"`
}

// GetHttpRequestRecipe sends a GET request to a service.
type GetHttpRequestRecipe struct {
	_        struct{}          `doc:"A GET request to a port of a service, by plain http."`
	PortID   string            `star:"port_id" check:"nonempty" doc:"which of the service's ports"`
	Endpoint string            `star:"endpoint" doc:"path and query, such as /health?full=1"`
	Extract  map[string]string `star:"extract,?,deep" doc:"names to jq queries on the body"`
	Headers  map[string]string `star:"headers,?,deep" doc:"header fields"`
}

// PostHttpRequestRecipe sends a POST request to a service.
type PostHttpRequestRecipe struct {
	_           struct{}          `doc:"A POST request to a port of a service, by plain http."`
	PortID      string            `star:"port_id" check:"nonempty" doc:"which of the service's ports"`
	Endpoint    string            `star:"endpoint" doc:"path and query"`
	Body        string            `star:"body,?" doc:"what is sent"`
	ContentType *string           `star:"content_type,?" doc:"application/json if not given"`
	Extract     map[string]string `star:"extract,?,deep" doc:"names to jq queries on the body"`
	Headers     map[string]string `star:"headers,?,deep" doc:"header fields"`
}

// Recipe gives what is run.
func (r *ExecRecipe) Recipe() recipe.Recipe {
	return recipe.Exec{Command: r.Command, Extract: r.Extract}
}

// Recipe gives what is asked.
func (r *GetHttpRequestRecipe) Recipe() recipe.Recipe {
	return recipe.HTTP{Method: "GET", PortID: r.PortID, Endpoint: r.Endpoint, Headers: r.Headers, Extract: r.Extract}
}

// Recipe gives what is asked.
func (r *PostHttpRequestRecipe) Recipe() recipe.Recipe {
	contentType := "application/json"
	if r.ContentType != nil {
		contentType = *r.ContentType
	}
	return recipe.HTTP{
		Method: "POST", PortID: r.PortID, Endpoint: r.Endpoint, Body: r.Body, ContentType: contentType,
		Headers: r.Headers, Extract: r.Extract,
	}
}

// AnyRecipe is one of the recipes.
type AnyRecipe struct{ Recipe recipe.Recipe }

// Wants names what is taken.
func (*AnyRecipe) Wants() string {
	return "ExecRecipe, GetHttpRequestRecipe or PostHttpRequestRecipe"
}

// UnpackStar reads it.
func (a *AnyRecipe) UnpackStar(v starlark.Value) error {
	read := func(r interface{ Recipe() recipe.Recipe }, err error) error {
		if err == nil {
			a.Recipe = r.Recipe()
		}
		return err
	}
	switch {
	case lang.Is[ExecRecipe](v):
		return read(lang.As[ExecRecipe](v))
	case lang.Is[GetHttpRequestRecipe](v):
		return read(lang.As[GetHttpRequestRecipe](v))
	case lang.Is[PostHttpRequestRecipe](v):
		return read(lang.As[PostHttpRequestRecipe](v))
	}
	return fmt.Errorf("must be a recipe (%s), not %s", a.Wants(), lang.Describe(v))
}

// Target is the value that an assertion compares with: a plain one, not None.
type Target struct{ Value starlark.Value }

// Wants names what is taken.
func (*Target) Wants() string { return "any plain value but None" }

// UnpackStar reads it. What has nothing to compare by, such as a function or a
// PortSpec, is refused.
func (t *Target) UnpackStar(v starlark.Value) (err error) {
	_, compares := v.(starlark.Comparable)
	_, ordered := v.(starlark.TotallyOrdered) // numbers
	if _, object := v.(*lang.Object); object || !compares && !ordered {
		return fmt.Errorf("must be a value to compare with, not %s", lang.Describe(v))
	}
	t.Value, err = lang.Copy(v)
	return err
}

// Fits is an error unless the assertion can hold for some value: IN and NOT_IN
// look into their target.
func (t Target) Fits(assertion string) error {
	_, iterable := t.Value.(starlark.Iterable)
	if iterable || assertion != "IN" && assertion != "NOT_IN" {
		return nil
	}
	wrong := &lang.ArgsError{}
	wrong.Add("target_value", fmt.Errorf("must be a list or dict for %s to look in, not %s", assertion, lang.Describe(t.Value)))
	return wrong
}

// HTTPRecipe is one of the recipes for requests.
type HTTPRecipe struct{ AnyRecipe }

// Wants names what is taken.
func (*HTTPRecipe) Wants() string { return "GetHttpRequestRecipe or PostHttpRequestRecipe" }

// UnpackStar reads it.
func (h *HTTPRecipe) UnpackStar(v starlark.Value) error {
	if !lang.Is[GetHttpRequestRecipe](v) && !lang.Is[PostHttpRequestRecipe](v) {
		return fmt.Errorf("must be %s, not %s", h.Wants(), lang.Describe(v))
	}
	return h.AnyRecipe.UnpackStar(v)
}
