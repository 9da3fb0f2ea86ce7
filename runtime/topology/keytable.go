package topology

// nodeKeys are what Keys returns.
var nodeKeys = [...]Key{
	{"path", "FILE", "the program, relative to the ini; a name without a slash is looked up in PATH where no such file " +
		"is beside the ini. " +
		"It is called with --name=NAME, then with the other keys of its section as --key=value, then with " +
		"--phone-home=HOST:PORT; for a program that takes no such flags there is command", `
[worker]
path = ./worker
batch = 10
`},
	{"component", "NAME", "runs a component that is built into dagon-star instead of a program", `
[receiver]
component = giles-receiver
listen.data = auto
listen = <SELF:data>
`},
	{"command", "WORDS", "the whole command line, in the words of a shell, with nothing added to it; instead of path. " +
		"Lines below it that are indented more go on with it. " +
		"No shell reads it: where a variable or a pipe is needed, it is sh -c '…'. " +
		"The program is looked up in PATH, and then in the folders where servers are, such as /usr/sbin and " +
		"/usr/lib/postgresql/*/bin; with a slash it is relative to the ini, " +
		"and so is any other word that begins with ./ or ../ and is a file there. No flags are made of other keys: one that " +
		"is not in this list is a mistake", `
[web]
command = python3 -m http.server
  --bind <SELF> <SELF:http:port>
listen.http = auto
ready.http = http/
`},
	{"ready.log", "REGEX", "the node is ready when a line that this incarnation has written matches. All ready keys that " +
		"a section has must hold. " +
		"With path or component and none of them, the node is ready when it says /ready; with command and none of them, " +
		"nothing says so", `
[server]
command = sh -c 'echo listening on port 80; exec sleep 60'
ready.log = listening on port \d+
`},
	{"ready.port", "ENDPOINT", "it is ready when its endpoint accepts a connection, which many servers do before they can answer", `
[web]
command = python3 -m http.server --bind <SELF> <SELF:http:port>
listen.http = auto
ready.port = http
`},
	{"ready.http", "ENDPOINT/PATH", "it is ready when a GET of the path is answered with a status of 200 to 399", `
[web]
command = python3 -m http.server --bind <SELF> <SELF:http:port>
listen.http = auto
ready.http = http/
`},
	{"ready.exec", "SHELL", "it is ready when this command of sh exits with 0, run in its folder, as its user. Lines " +
		"below it that are indented more go on with it", `
[server]
command = sh -c 'echo up > state; exec sleep 60'
ready.exec = test -s state
`},
	{"ready.notify", "true|false", "it is ready when it says READY=1 by sd_notify(3), to the socket that NOTIFY_SOCKET names", `
[server]
command = python3 -c "import os, socket, time
  to = os.environ['NOTIFY_SOCKET'].replace('@', chr(0))
  socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b'READY=1', to)
  time.sleep(60)"
ready.notify = true
`},
	{"ready.message", "true|false", "it is ready when it says /ready over its control connection: for a command that " +
		"does, or beside other ready keys", `
[receiver]
component = giles-receiver
listen.data = auto
listen = <SELF:data>
ready.port = data
ready.message = true
`},
	{"stop", "SIGNAL", "the signal that asks it to end, where it has no control connection: TERM, or one of INT, QUIT, " +
		"HUP, USR1, USR2, WINCH, ALRM, ABRT, PIPE, PWR and KILL", `
[server]
command = sh -c 'trap "exit 0" QUIT; echo up; while :; do sleep 0.1; done'
ready.log = up
stop = QUIT
`},
	{"exit", "CODES", "codes that are clean ends when it was asked to end, besides 0 and those of the stop signal itself", `
[server]
command = sh -c 'trap "exit 3" TERM; echo up; while :; do sleep 0.1; done'
ready.log = up
exit = 3, 4
`},
	{"setup", "SHELL", "a command of sh, run once before the first fork, and after wipe, in the node's folder and as its " +
		"user. Lines below it that are indented more go on with it", `
[server]
setup =
  mkdir data
  echo 1 > data/version
command = sh -c 'cat data/version; exec sleep 60'
ready.log = ^1$
`},
	{"user", "NAME", "the user that it runs as, and its setup and what is executed on it; its folder in the run's folder " +
		"is given to the user. It takes root to be another", `
[server]
user = nobody
command = sh -c 'id -un; exec sleep 60'
ready.log = ^nobody$
`},
	{"template.FILE", "FILE or an indented text below it", "a file that is put into the node's folder before each fork, " +
		"under the name FILE, which may have folders, with its placeholders replaced. " +
		"A value on the line of the key is a file, relative to the ini; without one, the lines below that are indented more " +
		"are the text", `
[server]
template.conf/server.conf =
  # of <NAME>
  listen <SELF:http>
command = sh -c 'cat conf/server.conf; exec sleep 60'
listen.http = auto
ready.log = ^listen
`},
	{"count", "N", "makes that many nodes of the section: of [n] n1, n2 and so on, whose list is n in scripts, and " +
		"<n*:NAME> here. At most 10,000 nodes are made so", `
[n]
count = 3
command = sh -c 'echo the others are at <n*:peer>; exec sleep 60'
listen.peer = auto
ready.log = others
`},
	{"value.NAME", "TEXT", "a text that others refer to as to an endpoint: <node:NAME>, or <n*:NAME> with commas " +
		"between. Its own placeholders are those of its own node", `
[n]
count = 2
command = sh -c 'echo members <n*:member>; exec sleep 60'
listen.peer = auto
value.member = <NAME>=http://<SELF:peer>
ready.log = ^members n1=http.*,n2=http
`},
	{"role", "leader|worker|sender|receiver", "the node's role", `
[counter]
component = giles-receiver
role = receiver
listen.data = auto
listen = <SELF:data>
`},
	{"leader", "true|false", "the older way to say so; true, or empty, also passes -l", `
[worker]
path = ./worker
leader = true
`},
	{"sender", "true|false", "the older way to say so. Without a role, a section or name with \"receiver\" in it is a " +
		"receiver, and any other a worker", `
[worker]
path = ./worker
sender = true
`},
	{"name", "NAME", "the node's name, if it is not the section's. With count, the numbers are put after it", `
[receiver]
component = giles-receiver
name = giles
listen.data = auto
listen = <SELF:data>
`},
	{"file", "FILE", "passed as --file=, made absolute: it is relative to the ini", `
[worker]
path = ./worker
file = words.txt
`},
	{"args", "WORDS", "more arguments, in the words of a shell", `
[worker]
path = ./worker
args = --greeting 'hello world' <SELF>
`},
	{"arg.KEY", "VALUE", "passes --KEY=VALUE where KEY is one of these keys", `
[worker]
path = ./worker
arg.user = ann
`},
	{"env.KEY", "VALUE", "sets a variable in the environment", `
[server]
command = sh -c 'echo level $LEVEL; exec sleep 60'
env.LEVEL = debug
ready.log = level debug
`},
	{"cwd", "DIR", "the working folder, relative to the ini; without it the node has one of its own in the run's folder, " +
		"which <FOLDER> is", `
[server]
command = sh -c 'echo in $PWD; exec sleep 60'
cwd = .
ready.log = ^in /
`},
	{"tty", "true|false", "gives the node a terminal; carriage returns at the ends of its lines are left out", `
[server]
command = sh -c 'test -t 1 && echo a terminal; exec sleep 60'
tty = true
ready.log = a terminal
`},
	{"tty.size", "COLUMNSxROWS", "the size of that terminal, 80x24", `
[server]
command = sh -c 'stty size; exec sleep 60'
tty = true
tty.size = 132x43
ready.log = ^43 132$
`},
	{"may_exit", "true|false", "the node may exit unasked", `
[job]
command = sh -c 'echo done; sleep 0.2'
may_exit = true
ready.log = done
`},
	{"listen.NAME", "PORT|auto|udp:PORT|udp:auto", "an endpoint of the node's own address: <SELF:NAME> here, <node:NAME> " +
		"in other sections, DAGON_LISTEN_NAME in its environment", `
[server]
command = sh -c 'echo $DAGON_LISTEN_HTTP is <SELF:http>; exec sleep 60'
listen.http = 8080
ready.log = :8080 is .*:8080
`},
	{"wrapper_path", "FILE", "a program put in front of the command", `
[server]
wrapper_path = nice
command = sh -c 'echo up; exec sleep 60'
ready.log = up
`},
	{"wrapper_args_N", "VALUE", "its arguments, in the order of their numbers", `
[server]
wrapper_path = nice
wrapper_args_1 = -n
wrapper_args_2 = 5
command = sh -c 'echo up; exec sleep 60'
ready.log = up
`},
}
