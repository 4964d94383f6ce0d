package compose

import (
	"slices"
	"strings"
	"testing"
)

// What Compose users expect, beyond what the language's specification has.
func TestConvertMore(t *testing.T) {
	for name, c := range map[string]struct{ service, want string }{
		"user":                 {"a: {image: x, user: '1000:1001'}", `user = User(uid = 1000, gid = 1001),`},
		"user is root":         {"a: {image: x, user: root}", `user = User(uid = 0),`},
		"limits":               {"a: {image: x, deploy: {resources: {limits: {cpus: '0.5', memory: 64M}}}}", `max_cpu = 500, max_memory = 64,`},
		"limits, short":        {"a: {image: x, cpus: 1.5, mem_limit: 1k, mem_reservation: 32m}", `max_cpu = 1500, max_memory = 6, min_memory = 32,`},
		"app_protocol":         {"a: {image: x, ports: [{target: 99, app_protocol: grpc, name: api, published: '1', mode: host}]}", `"port0": PortSpec( number = 99, transport_protocol = "TCP", application_protocol = "grpc", ),`},
		"init, tty":            {"a: {image: x, init: false, tty: true}", `tini_enabled = False, tty_enabled = True,`},
		"rights":               {"a: {image: x, privileged: true, pid: host, cap_add: [NET_ADMIN], devices: ['/dev/fuse']}", `devices = [ "/dev/fuse", ], capabilities = [ "NET_ADMIN", ], privileged = True, host_pid_namespace = True,`},
		"shm and ulimits":      {"a: {image: x, shm_size: 64m, ulimits: {nofile: 1024, nproc: {soft: 5, hard: 5}}}", `gpu = GpuConfig(shm_size = 64, ulimits = { "nofile": 1024, "nproc": 5, }),`},
		"gpus":                 {"a: {image: x, deploy: {resources: {reservations: {devices: [{driver: nvidia, count: 2, capabilities: [gpu]}]}}}}", `gpu = GpuConfig(count = 2, driver = "nvidia"),`},
		"all gpus":             {"a: {image: x, gpus: all}", `gpu = GpuConfig(count = -1),`},
		"health is awaited":    {"a: {image: x, depends_on: {b: {condition: service_healthy}}}\n    b: {image: y, healthcheck: {test: 'pg_isready -U $${U}', interval: 5s, timeout: 3s, retries: 4, start_period: 10s}}", `ready_conditions = ReadyCondition( recipe = ExecRecipe(command = [ "/bin/sh", "-c", "pg_isready -U ${U}", ]), field = "code", assertion = "==", target_value = 0, interval = "2s", timeout = "42s", ),`},
		"health is a command":  {"a: {image: x, depends_on: {b: {condition: service_healthy}}}\n    b: {image: y, healthcheck: {test: [CMD, ping, -c1], start_interval: 100ms}}", `ExecRecipe(command = [ "ping", "-c1", ]), field = "code", assertion = "==", target_value = 0, interval = "100ms", timeout = "3m0s",`},
		"health is for nobody": {"a: {image: x, healthcheck: {test: [CMD, x]}}", `config = ServiceConfig( image = "x", ), )`},
		"secret of a file":     {"a: {image: x, secrets: [password]}", `plan.upload_files(src = "./conf/a.env", name = "a--secret0") plan.add_service( name = "a", config = ServiceConfig( image = "x", files = { "/tmp/a--secret0": "a--secret0", }, files_to_be_moved = { "/tmp/a--secret0/a.env": "/run/secrets/password", },`},
		"secret of a variable": {"a: {image: x, secrets: [{source: token, target: /etc/token}]}", `plan.render_templates(config = { "token": struct(template = "{{.text}}", data = { "text": "from-dotenv", }), }, name = "a--secret0") plan.add_service( name = "a", config = ServiceConfig( image = "x", files = { "/tmp/a--secret0": "a--secret0", }, files_to_be_moved = { "/tmp/a--secret0/token": "/etc/token", },`},
		"config of a text":     {"a: {image: x, configs: [{source: inline, target: app.ini}]}", `"app.ini": struct(template = "{{.text}}", data = { "text": "[a]\nb={{x}}\n", }), }, name = "a--config0") plan.add_service( name = "a", config = ServiceConfig( image = "x", files = { "/tmp/a--config0": "a--config0", }, files_to_be_moved = { "/tmp/a--config0/app.ini": "/app.ini", },`},
		"not in the package":   {"a: {image: x, volumes: ['./data:/var/lib/data']}", `"/var/lib/data": Directory(persistent_key = "a--volume0"),`},
		"no replicas":          {"a: {image: x, depends_on: [b]}\n    b: {image: y, deploy: {replicas: 0}}", `def run(plan): plan.add_service( name = "a", config = ServiceConfig( image = "x", ), )`},
		"env_file uses .env":   {"a: {image: x, env_file: conf/uses.env}", `"URL": "x/from-dotenv",`},
		"a profile is on":      {"a: {image: x, profiles: [debug]}", `name = "a"`},
		"links are order":      {"a: {image: x, links: ['c:db']}\n    b: {image: y}\n    c: {image: z}", `name = "b" | name = "c" | name = "a"`},
	} {
		t.Run(name, func(t *testing.T) {
			converted, err := Convert(t.Context(), inTree(t, map[string]string{
				"compose.yml": "services:\n    " + c.service + "\nsecrets: {password: {file: conf/a.env}, token: {environment: TAG}}\nconfigs: {inline: {content: \"[a]\\nb={{x}}\\n\"}}\n",
				".env":        "TAG=from-dotenv\nCOMPOSE_PROFILES=debug,more\n", "conf/a.env": "A=1\n", "conf/uses.env": "URL=x/${TAG}\n",
			}), "compose.yml")
			if err != nil {
				t.Fatal(err)
			}
			checkSyntax(t, converted.Text)
			rest := squeezed(converted.Text)
			for part := range strings.SplitSeq(c.want, " | ") {
				_, after, ok := strings.Cut(rest, part)
				if !ok {
					t.Fatalf("got\n%s\nwant %s", rest, part)
				}
				rest = after
			}
		})
	}
}

// What has no effect is told, with its place, once for all services.
func TestRemarks(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"nothing to tell":      {"services:\n  a:\n    image: x\n    restart: 'no'\n    labels: {a: b}\n    expose: [1]\n    logging: {driver: none}\n    network_mode: bridge\n    x-y: 1\n    networks: {default: }\n    hostname: a\n    ports: ['1:2']\n", ""},
		"restart":              {"services:\n  b:\n    image: x\n    restart: always\n  a:\n    restart: always\n    image: x\n", `compose.yml:6: restart of services "a", "b" has no effect, unless the enclave is a production one`},
		"working_dir":          {"services:\n  a:\n    image: x\n    working_dir: /x\n", `compose.yml:4: working_dir of service "a" has no effect: its command starts in the image's working directory`},
		"by a merge":           {"x-all: &all\n  read_only: true\nservices:\n  a:\n    <<: *all\n    image: x\n", `compose.yml:2: read_only of service "a" has no effect`},
		"in an included file":  {"include: [sub/more.yml]\nservices: {}\n", `sub/more.yml:4: dns of service "c" has no effect`},
		"named user":           {"services:\n  a: {image: x, user: postgres}\n", `compose.yml:2: user of service "a" has no effect: "postgres" is no number`},
		"user and a folder":    {"services:\n  a: {image: x, user: '1000', volumes: ['./sub:/x']}\n", `user of service "a" can't write to files of the package`},
		"user reads a folder":  {"services:\n  a: {image: x, user: '1000', volumes: ['./sub:/x:ro']}\n", ``},
		"user and a file":      {"services:\n  a: {image: x, user: '1000', volumes: ['./compose.yml:/etc/x']}\n", `user of service "a" has no effect: the service moves files`},
		"host network":         {"services:\n  a: {image: x, network_mode: host}\n", `network_mode of service "a" has no effect: all services are on`},
		"build":                {"services:\n  a:\n    build:\n      context: .\n      network: host\n      no_cache: true\n", `compose.yml:5: build.network of service "a" has no effect`},
		"Dockerfile elsewhere": {"services:\n  a: {build: {context: ., dockerfile: docker/D}}\n", `build.dockerfile of service "a" makes its own directory, "docker", the context`},
		"argument of a build":  {"services:\n  a: {build: {context: ., args: [A]}}\n", `build.args of service "a" leave out A`},
		"deploy":               {"services:\n  a: {image: x, deploy: {replicas: 3, labels: {a: b}, placement: {max_replicas_per_node: 1}}}\n", `deploy.replicas of service "a" is 1`},
		"pids":                 {"services:\n  a: {image: x, deploy: {resources: {limits: {pids: 3}}}}\n", `deploy.resources.limits.pids of service "a" has no effect`},
		"end of a service":     {"services:\n  a:\n    image: x\n    depends_on:\n      b: {condition: service_completed_successfully}\n  b: {image: y}\n", `compose.yml:5: depends_on.b.condition of service "a" has no effect: it starts once the other has started`},
		"no health check":      {"services:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y}\n", `compose.yml:3: healthcheck of service "b" is not there`},
		"other name":           {"services:\n  my_db: {image: x}\n  b: {image: y}\n", `compose.yml:2: name of service "my_db" counts: other services reach it as "my-db"`},
		"container_name":       {"services:\n  db:\n    image: x\n    container_name: the-db\n  b: {image: y}\n", `compose.yml:4: container_name of service "db" counts: other services reach it as "the-db", and not as "db"`},
		"aliases":              {"services:\n  a: {image: x, networks: {n: {aliases: [z]}}}\nnetworks: {n: }\n", `networks.n.aliases of service "a" have no effect`},
		"networks":             {"services:\n  a: {image: x, networks: [n]}\n  b: {image: x, networks: [m]}\nnetworks: {n: , m: }\n", `compose.yml:4: networks do not keep services apart: "a" reaches "b" here`},
		"shared volume":        {"services:\n  a: {image: x, volumes: ['data:/x']}\n  b: {image: x, volumes: ['data:/y']}\nvolumes: {data: }\n", `compose.yml:4: volume "data" is not shared: services "a", "b" have a directory of their own each`},
		"external volume":      {"services:\n  a: {image: x, volumes: ['data:/x']}\nvolumes: {data: {external: true}}\n", `volume "data" is an empty directory at first`},
		"file of the host":     {"services:\n  a: {image: x, volumes: ['/var/run/docker.sock:/var/run/docker.sock']}\n", `volumes of service "a" do not have /var/run/docker.sock of this machine`},
		"not in the package":   {"services:\n  a: {image: x, volumes: ['./d:/x']}\n", `volumes of service "a" have ./d, which the package does not have`},
		"tmpfs":                {"services:\n  a: {image: x, tmpfs: /run}\n", `tmpfs of service "a" has no effect`},
		"tmpfs volume":         {"services:\n  a: {image: x, volumes: [{type: tmpfs, target: /in}]}\n", `volumes of service "a" have a tmpfs at /in, which has no effect`},
		"variable of the host": {"services:\n  a: {image: x, environment: [TOKEN]}\n", `environment of service "a" leaves out TOKEN`},
		"variable not set":     {"services:\n  a: {image: 'x:${TAG}'}\n", `the variable TAG is not set`},
		"override":             {"services: {}\n#override", `compose.yml: docker-compose.override.yml beside it is not read`},
		"soft limit":           {"services:\n  a: {image: x, ulimits: {nofile: {soft: 1, hard: 2}}}\n", `ulimits.nofile of service "a" is its soft limit`},
	} {
		t.Run(name, func(t *testing.T) {
			override := "docker-compose.override.yml"
			if !strings.HasSuffix(c.file, "#override") {
				override = "none"
			}
			converted, err := Convert(t.Context(), inTree(t, map[string]string{
				override: "services: {}\n", "compose.yml": c.file, "sub/more.yml": "services:\n  c:\n    image: y\n    dns: 8.8.8.8\n",
			}), "compose.yml")
			if err != nil {
				t.Fatal(err)
			}
			got := converted.Remarks
			if c.want == "" && len(got) > 0 || c.want != "" && !slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, c.want) }) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

// What a service can't do without, and can't have, is an error with its place.
func TestRefusedFields(t *testing.T) {
	for file, want := range map[string]string{
		"services:\n  a:\n    build: {contxt: x}\n":                                                                              `compose.yml:3: service "a": build: it has a field that Compose does not know`,
		"services:\n  a:\n    image: x\n    prots: [1]\n":                                                                        `compose.yml:4: service "a": prots: Compose knows no such field; did you mean "ports"?`,
		"services:\n  a:\n    image: x\n    volumes_from: [b]\n  b: {image: y}\n":                                                "compose.yml:4: volumes_from: name the volumes",
		"services:\n  a:\n    provider: {type: x}\n":                                                                             "compose.yml:3: provider: only containers",
		"services:\n  a:\n    build:\n      context: .\n      dockerfile_inline: FROM x\n":                                       "compose.yml:5: build.dockerfile_inline: write it",
		"services:\n  a: {build: {context: ., additional_contexts: {x: ./y}}}\n":                                                 "build.additional_contexts: a Dockerfile has one context",
		"services:\n  a: {build: 'https://github.com/me/x.git'}\n":                                                               `build.context: "https://github.com/me/x.git" is not in the package`,
		"services:\n  a:\n    image: x\n    secrets: [s]\nsecrets: {s: {external: true}}\n":                                      `compose.yml:4: secrets: "s" is external`,
		"services:\n  a: {image: x, configs: [s]}\nconfigs: {s: {file: ./none}}\n":                                               `configs: "s" names the file "./none": no such file`,
		"services:\n  a: {image: x, configs: [s]}\nconfigs: {s: {file: ../../x}}\n":                                              `leads out of the package`,
		"services:\n  a: {image: x, secrets: [s]}\nsecrets: {s: {environment: NONE}}\n":                                          `names the variable NONE`,
		"services:\n  a: {image: x, secrets: [s]}\n":                                                                             `secrets: "s" is not defined`,
		"services:\n  a: {image: x, volumes: [{type: image, source: y, target: /x}]}\n":                                          `is of the type "image"`,
		"services:\n  a:\n    image: x\n    env_file: [{path: e, format: raw}]\n":                                                `compose.yml:4: env_file: the format "raw"`,
		"services:\n  a: {}\n  b: {image: x, volumes_from: [a]}\n":                                                               `service "b": compose.yml:3: volumes_from`,
		"services:\n  a: {image: x, depends_on: {b: {condition: service_healthy}}}\n  b: {image: y, healthcheck: {test: [X]}}\n": "healthcheck.test: begins with none of",
	} {
		_, err := Convert(t.Context(), inTree(t, map[string]string{"compose.yml": file, "e": "A=1\n"}), "compose.yml")
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %s", file, err, want)
		}
	}
}
