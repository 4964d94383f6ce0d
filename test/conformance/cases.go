package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
)

// A Case is one line of a file of cases.
type Case struct {
	Name   string `json:"name"`
	Input  Input  `json:"input"`
	Expect Expect `json:"expect"`
}

// Input is what is run, and where.
type Input struct {
	Script           string            `json:"script"`
	Files            map[string]string `json:"files"` // text by absolute locator
	AsPackageID      string            `json:"as_package_id"`
	MainFile         string            `json:"main_file"`
	Args             string            `json:"args"` // JSON or YAML
	MainFunction     string            `json:"main_function"`
	Replace          map[string]string `json:"replace"`
	Backend          string            `json:"backend"` // docker if empty
	AllowPrivileged  bool              `json:"allow_privileged"`
	NonBlocking      bool              `json:"non_blocking"` // changes nothing before execution
	EnclaveEnvVars   json.RawMessage   `json:"enclave_env_vars"`
	ExistingServices json.RawMessage   `json:"existing_services"`
	ImageDownload    string            `json:"image_download"` // changes nothing: every image exists
	Reruns           []Rerun           `json:"reruns"`
}

// Rerun is a further run in the same enclave.
type Rerun struct {
	Script string `json:"script"`
	Args   string `json:"args"`
}

// Expect is the recorded answer. What a recording does not tell is not compared.
type Expect struct {
	Status           string        `json:"status"`
	Instructions     []Instruction `json:"instructions"`
	Output           *string       `json:"output"`
	PlanYAML         *string       `json:"plan_yaml"`
	Error            string        `json:"error"`
	ValidationErrors []string      `json:"validation_errors"`
	Reruns           []Expect      `json:"reruns"`
}

// Instruction is a step of a plan as it is recorded.
type Instruction struct {
	Name        string  `json:"name"`
	Position    string  `json:"position"`
	Executable  string  `json:"executable"`
	Description string  `json:"description"`
	Returned    *string `json:"returned_value"`
}

// Difference is a case in which lepto differs on purpose.
type Difference struct {
	Name    string `json:"name"`
	Reason  string `json:"reason"`
	Section string `json:"section"` // row of docs/compatibility.md
}

// readLines decodes a file of one JSON value a line.
func readLines[T any](file string) ([]T, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var all []T
	lines := bufio.NewReader(bytes.NewReader(data))
	for number := 1; ; number++ {
		line, err := lines.ReadBytes('\n')
		if len(bytes.TrimSpace(line)) > 0 {
			var value T
			if err := json.Unmarshal(line, &value); err != nil {
				return nil, fmt.Errorf("%s:%d: %w", file, number, err)
			}
			all = append(all, value)
		}
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, err
		}
	}
}
