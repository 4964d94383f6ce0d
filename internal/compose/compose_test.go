package compose

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// inTree writes files and opens their directory.
func inTree(t *testing.T, files map[string]string) *os.Root {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { root.Close() })
	return root
}

// squeezed is a program without the white space between its tokens.
func squeezed(program string) string {
	return strings.Join(strings.Fields(program), " ")
}

// Each row of the table of what becomes of what (starlark spec §6.9).
func TestConvert(t *testing.T) {
	for name, c := range map[string]struct {
		service string // what is below services:, four spaces in
		want    string // is in the program
	}{
		"image":                {"a: {image: 'x:1'}", `name = "a", config = ServiceConfig( image = "x:1",`},
		"service name":         {"My_Web.App: {image: x}", `name = "my-web-app",`},
		"dashes":               {"_a__b_: {image: x}", `name = "a-b",`},
		"container_name":       {"a: {image: x, container_name: The_Name}", `name = "the-name",`},
		"build":                {"a: {build: ./api}", `image = ImageBuildSpec(image_name = "a-image", build_context_dir = "./api"),`},
		"build with target":    {"a: {build: {context: ., target: t}}", `ImageBuildSpec( image_name = "a-image", build_context_dir = ".", target_stage = "t", )`},
		"build with file":      {"a: {build: {context: ., dockerfile: D, args: {K: v}}}", `build_file = "D", build_args = { "K": "v", },`},
		"port":                 {"a: {image: x, ports: ['1234:99']}", `ports = { "port0": PortSpec(number = 99, transport_protocol = "TCP"), },`},
		"ports are numbered":   {"a: {image: x, ports: [1, 2]}", `"port1": PortSpec(number = 2, transport_protocol = "TCP"),`},
		"udp":                  {"a: {image: x, ports: ['99/udp']}", `PortSpec(number = 99, transport_protocol = "UDP")`},
		"sctp":                 {"a: {image: x, ports: [{target: 99, protocol: sctp}]}", `PortSpec(number = 99, transport_protocol = "SCTP")`},
		"port range":           {"a: {image: x, ports: ['5-6:7-8']}", `"port1": PortSpec(number = 8, transport_protocol = "TCP"),`},
		"80 is http":           {"a: {image: x, ports: [80]}", `number = 80, transport_protocol = "TCP", application_protocol = "http", url = "http://a:80",`},
		"443 is http":          {"a: {image: x, ports: [443]}", `url = "http://a:443"`},
		"8000 is http":         {"a: {image: x, ports: ['1:8000']}", `application_protocol = "http"`},
		"8080 is http":         {"a: {image: x, ports: ['1:8080']}", `application_protocol = "http"`},
		"entrypoint":           {"a: {image: x, entrypoint: [sh, -c]}", `entrypoint = [ "sh", "-c", ],`},
		"command":              {"a: {image: x, command: [run, 'a b']}", `cmd = [ "run", "a b", ],`},
		"command as text":      {`a: {image: x, command: sh -c "echo 'x y'"}`, `cmd = [ "sh", "-c", "echo 'x y'", ],`},
		"environment":          {"a: {image: x, environment: {B: 2, A: '1'}}", `env_vars = { "A": "1", "B": "2", },`},
		"environment as list":  {"a: {image: x, environment: [A=1, B=]}", `env_vars = { "A": "1", "B": "", },`},
		"no value":             {"a: {image: x, environment: {A: , B: 1}}", `env_vars = { "B": "1", },`},
		"env_file wins":        {"a: {image: x, environment: {A: 1, C: 3}, env_file: conf/a.env}", `env_vars = { "A": "from file", "B": "2", "C": "3", },`},
		"optional env_file":    {"a: {image: x, env_file: [{path: none.env, required: false}]}", `image = "x", ), )`},
		"absolute bind":        {"a: {image: x, volumes: ['/host:/in']}", `files = { "/in": Directory(persistent_key = "a--volume0"), },`},
		"bind below home":      {"a: {image: x, volumes: ['~/x:/in']}", `"/in": Directory(persistent_key = "a--volume0"),`},
		"named volume":         {"a: {image: x, volumes: ['data:/in:ro']}", `"/in": Directory(persistent_key = "a--volume0"),`},
		"anonymous volume":     {"a: {image: x, volumes: [/one, /two]}", `"/two": Directory(persistent_key = "a--volume1"),`},
		"long named volume":    {"a: {image: x, volumes: [{type: volume, source: data, target: /in}]}", `"/in": Directory(persistent_key = "a--volume0"),`},
		"tmpfs":                {"a: {image: x, volumes: [{type: tmpfs, target: /in}, /b]}", `files = { "/b": Directory(persistent_key = "a--volume1"), },`},
		"relative directory":   {"a: {image: x, volumes: ['./conf:/in']}", `plan.upload_files(src = "./conf", name = "a--volume0") plan.add_service( name = "a", config = ServiceConfig( image = "x", files = { "/in": "a--volume0", },`},
		"long bind":            {"a: {image: x, volumes: [{type: bind, source: conf, target: /in}]}", `src = "./conf"`},
		"the directory itself": {"a: {image: x, volumes: ['.:/in']}", `src = "."`},
		"relative file":        {"a: {image: x, volumes: ['./conf/a.env:/etc/a.conf:ro']}", `files = { "/tmp/a--volume0": "a--volume0", }, files_to_be_moved = { "/tmp/a--volume0/a.env": "/etc/a.conf", },`},
		"uploads are sorted":   {"a: {image: x, volumes: ['./other:/1', './conf:/2']}", `plan.upload_files(src = "./conf", name = "a--volume1") plan.upload_files(src = "./other", name = "a--volume0")`},
		"reservations":         {"a: {image: x, deploy: {resources: {reservations: {cpus: '0.5', memory: 64M}}}}", `min_cpu = 512, min_memory = 64,`},
		"reserved memory only": {"a: {image: x, deploy: {resources: {reservations: {memory: 1g}}}}", `image = "x", min_cpu = 0, min_memory = 1024, )`},
		"depends_on":           {"a: {image: x, depends_on: [c]}\n    b: {image: y}\n    c: {image: z, depends_on: {d: {condition: service_healthy}}}\n    d: {image: w}", `name = "b" | name = "d" | name = "c" | name = "a"`},
		"optional dependency":  {"a: {image: x, depends_on: {z: {condition: service_started, required: false}}}", `name = "a"`},
		"variables":            {"a: {image: 'x:${TAG}', command: '${NONE:-default}'}", `image = "x:from-dotenv", cmd = [ "default", ],`},
		"profiles are off":     {"a: {image: x}\n    b: {image: y, profiles: [debug]}", `def run(plan): plan.add_service( name = "a", config = ServiceConfig( image = "x", ), )`},
		"extends":              {"a: {extends: {file: conf/base.yml, service: base}, environment: {X: 1}}", `image = "base", env_vars = { "X": "1", "Y": "2", },`},
		"quotes":               {`a: {image: x, environment: {A: "say \"hi\"\n\\ é"}}`, `"A": "say \"hi\"\n\\ é",`},
		"nothing":              {"{}", `def run(plan): pass`},
	} {
		t.Run(name, func(t *testing.T) {
			root := inTree(t, map[string]string{
				"compose.yml": "services:\n    " + c.service + "\nvolumes: {data: {}}\n", ".env": "TAG=from-dotenv\n",
				"conf/a.env": "A=from file\nB=2\n", "other/x": "", "conf/base.yml": "services: {base: {image: base, environment: {Y: 2}}}\n",
			})
			converted, err := Convert(t.Context(), root, "compose.yml")
			if err != nil {
				t.Fatal(err)
			}
			program := converted.Text
			checkSyntax(t, program)
			rest := squeezed(program)
			for part := range strings.SplitSeq(c.want, " | ") {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("got\n%s\nwant %s", program, part)
				}
				rest = after
			}
		})
	}
}

// checkSyntax reports a program that is none.
func checkSyntax(t *testing.T, program string) {
	t.Helper()
	options := &syntax.FileOptions{}
	if _, _, err := starlark.SourceProgramOptions(options, "compose.yml", program, func(name string) bool {
		return strings.Contains("ServiceConfig PortSpec ImageBuildSpec Directory User GpuConfig ReadyCondition ExecRecipe struct", name)
	}); err != nil {
		t.Errorf("%v in\n%s", err, program)
	}
}

func TestConvertRefuses(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"no image":             {"services: {a: {}}", `service "a": it has neither image nor build`},
		"protocol":             {"services: {a: {image: x, ports: [{target: 9, protocol: quic}]}}", `none of tcp, udp and sctp`},
		"circle":               {"services: {a: {image: x, depends_on: [b]}, b: {image: x, depends_on: [a]}, c: {image: x}}", "in a circle: a, b"},
		"unknown dependency":   {"services: {a: {image: x, depends_on: [b]}}", `service "a" depends on "b", which is not there`},
		"same names":           {"services: {a_b: {image: x}, a.b: {image: x}}", `it would be called "a-b"`},
		"no name":              {"services: {_: {image: x}}", "neither letter nor digit"},
		"volume not there":     {"services:\n  a:\n    image: x\n    volumes: [{type: bind, source: ./none, target: /x, bind: {create_host_path: false}}]", `compose.yml:4: volumes: volume "./none": no such file`},
		"volume outside":       {"services: {a: {image: x, volumes: ['../../x:/x']}}", "escapes"},
		"link outside":         {"services: {a: {image: x, volumes: ['./link/x:/x']}}", "escapes"},
		"env_file outside":     {"services: {a: {image: x, env_file: ../../../etc/hostname}}", "leads out of the package"},
		"env_file by a link":   {"services: {a: {image: x, env_file: link/secret}}", "escapes"},
		"env_file not there":   {"services: {a: {image: x, env_file: none}}", "env_file: none: no such file"},
		"include outside":      {"include: [../../x.yml]\nservices: {}", "leads out of the package"},
		"include absolute":     {"include: [/etc/x.yml]\nservices: {}", "only files of the package"},
		"include by a link":    {"include: [link/x.yml]\nservices: {}", "escapes"},
		"include's env_file":   {"include: [{path: ok.yml, env_file: ../../secret}]\nservices: {}", "leads out of the package"},
		"include's .env":       {"include: [sub/ok.yml]\nservices: {}", "escapes"},
		"included includes":    {"include: [bad.yml]\nservices: {}", "leads out of the package"},
		"include from the net": {"include: ['https://example.org/x.yml']\nservices: {}", "only files of the package"},
		"extends outside":      {"services: {a: {extends: {file: ../../x.yml, service: a}}}", "leads out of the package"},
		"a circle of aliases":  {"x: &a {<<: *a}\nservices: *a\n", "line 1: the alias *a is part of itself"},
		"aliases without end":  {"a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\nservices: {}", "more than 50000 values"},
		"no YAML":              {"services: [", "yaml"},
		"no compose file":      {"services: {a: 1}", "services.a must be a mapping"},
		"unknown field":        {"services: {a: {image: x, prots: [1]}}", "prots"},
		"missing variable":     {"services: {a: {image: '${X:?set it}'}}", "set it"},
		"a list":               {"[1, 2]", "mapping"},
		"inline Dockerfile":    {"services: {a: {build: {context: ., dockerfile_inline: FROM x}}}", "dockerfile_inline"},
	} {
		t.Run(name, func(t *testing.T) {
			root := inTree(t, map[string]string{
				"compose.yml": c.file, "ok.yml": "services: {}", "sub/ok.yml": "services: {}", "bad.yml": "include: [../../../x.yml]",
			})
			outside := t.TempDir()
			for _, name := range []string{"secret", "x", "x.yml"} {
				if err := os.WriteFile(filepath.Join(outside, name), []byte("SECRET=1"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			for link, target := range map[string]string{"link": outside, "sub/.env": filepath.Join(outside, "secret")} {
				if err := os.Symlink(target, filepath.Join(root.Name(), link)); err != nil {
					t.Fatal(err)
				}
			}
			program, err := Convert(t.Context(), root, "compose.yml")
			if err == nil {
				t.Fatalf("accepted as\n%s", program.Text)
			}
			if !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), root.Name()) {
				t.Errorf("got %v, want %s", err, c.want)
			}
		})
	}
}

func TestConvertInADirectory(t *testing.T) {
	root := inTree(t, map[string]string{
		"deploy/docker-compose.yml": "include: [more/compose.yml]\nservices:\n  a: {image: 'x:${T}', env_file: ../shared.env, volumes: ['../src:/s']}\n",
		"deploy/more/compose.yml":   "services:\n  b: {image: y, volumes: ['./data:/d']}\n",
		"deploy/.env":               "T=1\n", "shared.env": "S=2\n", "src/x": "", "deploy/more/data/x": "",
	})
	program, err := Convert(t.Context(), root, "deploy/docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`image = "x:1"`, `"S": "2"`, `src = "../src"`, `src = "./more/data"`} {
		if !strings.Contains(program.Text, want) {
			t.Errorf("got\n%s\nwant %s", program.Text, want)
		}
	}
}

func FuzzConvert(f *testing.F) {
	f.Add("services:\n  a: {image: x, ports: ['80:80'], volumes: ['./x:/y'], depends_on: [b]}\n  b: {build: .}\n", "A=1\n")
	f.Add("include: [{path: [a.yml], env_file: .env}]\nservices: {a: {extends: {file: compose.yml, service: a}}}\n", "A=${A}\n")
	f.Add("x: &a {<<: *a}\nservices: *a\n", "")
	f.Fuzz(func(t *testing.T, compose, env string) {
		root := inTree(t, map[string]string{"compose.yml": compose, ".env": env, "x/y": ""})
		program, err := Convert(t.Context(), root, "compose.yml")
		if err == nil {
			checkSyntax(t, program.Text)
		}
	})
}
