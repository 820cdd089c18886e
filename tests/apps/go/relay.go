// A relay on net/http, both server and client: a goroutine per request.
//
// GET or POST /relay?id=ID&n=K&via=HANDLER&delay=MS calls $BACKEND/out/ID/1 … K and answers with the
// length of each reply, one a line. HANDLER is how: now, sleep (MS first), fan (in parallel), file,
// resolve or database (reads a file, resolves a name or asks Redis on $REDIS_PORT first), task (in a
// goroutine of their own), or after: answers at once with nothing, and then calls
// $BACKEND/after/ID/1 … K.
// $BACKEND_KEEP_ALIVE=1 keeps backend connections, at most $BACKEND_POOL if that is set.
// $BACKGROUND=1 calls $BACKEND/background/1 … every 50 ms.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

var (
	backend = os.Getenv("BACKEND")
	client  = newClient()
	redis   connection
)

func newClient() *http.Client {
	transport := &http.Transport{MaxIdleConnsPerHost: 256}
	if os.Getenv("BACKEND_KEEP_ALIVE") != "1" {
		transport.DisableKeepAlives = true
	} else if pool, err := strconv.Atoi(os.Getenv("BACKEND_POOL")); err == nil {
		transport.MaxConnsPerHost, transport.MaxIdleConnsPerHost = pool, pool
	}
	return &http.Client{Transport: transport, Timeout: time.Minute}
}

// connection is the one to Redis for all requests, opened by the first.
type connection struct {
	mutex  sync.Mutex
	socket net.Conn
}

func (c *connection) echo(text string) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.socket == nil {
		socket, err := net.Dial("tcp", "127.0.0.1:"+os.Getenv("REDIS_PORT"))
		if err != nil {
			return err
		}
		c.socket = socket
	}
	c.socket.SetDeadline(time.Now().Add(time.Minute))
	reply := fmt.Sprintf("$%d\r\n%s\r\n", len(text), text)
	fmt.Fprintf(c.socket, "*2\r\n$4\r\nECHO\r\n%s", reply)
	received := make([]byte, len(reply))
	_, err := io.ReadFull(c.socket, received)
	if err == nil && string(received) != reply {
		err = fmt.Errorf("redis answered %q instead of %q", received, reply)
	}
	if err != nil { // the next request opens it again
		c.socket.Close()
		c.socket = nil
	}
	return err
}

func get(ctx context.Context, path string) (int64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, backend+path, nil)
	if err != nil {
		return 0, err
	}
	response, err := client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	if response.StatusCode >= 400 {
		return 0, fmt.Errorf("%s: status %s", path, response.Status)
	}
	return io.Copy(io.Discard, response.Body)
}

type result struct {
	lengths []int64
	err     error
}

func inOrder(ctx context.Context, paths []string) (all result) {
	for k := 0; k < len(paths) && all.err == nil; k++ {
		var length int64
		length, all.err = get(ctx, paths[k])
		all.lengths = append(all.lengths, length)
	}
	return all
}

// fan does what an errgroup does: all at once, and the first error counts.
func fan(ctx context.Context, paths []string) result {
	all := result{lengths: make([]int64, len(paths))}
	var group sync.WaitGroup
	var once sync.Once
	for k, path := range paths {
		group.Add(1)
		go func(k int, path string) {
			defer group.Done()
			length, err := get(ctx, path)
			if err != nil {
				once.Do(func() { all.err = err })
			}
			all.lengths[k] = length
		}(k, path)
	}
	group.Wait()
	return all
}

func call(ctx context.Context, query url.Values, paths []string) result {
	var err error
	switch query.Get("via") {
	case "sleep":
		delay, _ := strconv.Atoi(query.Get("delay"))
		time.Sleep(time.Duration(delay) * time.Millisecond)
	case "file":
		_, err = os.ReadFile("/etc/hosts")
	case "resolve":
		_, err = net.DefaultResolver.LookupHost(ctx, "localhost")
	case "database":
		err = redis.echo(query.Get("id"))
	case "fan":
		return fan(ctx, paths)
	case "task":
		results := make(chan result)
		go func() { results <- inOrder(ctx, paths) }()
		return <-results
	}
	if err != nil {
		return result{err: err}
	}
	return inOrder(ctx, paths)
}

func relay(writer http.ResponseWriter, request *http.Request) {
	io.Copy(io.Discard, request.Body)
	query, kind := request.URL.Query(), "out"
	switch query.Get("via") {
	case "", "now", "sleep", "fan", "file", "resolve", "database", "task":
	case "after":
		kind = "after"
	default:
		kind = ""
	}
	if query.Get("id") == "" || kind == "" {
		http.NotFound(writer, request)
		return
	}
	count, err := strconv.Atoi(query.Get("n"))
	if err != nil {
		count = 1
	}
	var paths []string
	for k := 1; k <= count; k++ {
		paths = append(paths, fmt.Sprintf("/%s/%s/%d", kind, query.Get("id"), k))
	}
	writer.Header().Set("Content-Type", "text/plain")
	if kind == "after" {
		writer.Header().Set("Content-Length", "0")
		writer.(http.Flusher).Flush()           // the whole response
		go inOrder(context.Background(), paths) // the request's context ends with this function
		return
	}
	result := call(request.Context(), query, paths)
	if result.err != nil {
		http.Error(writer, result.err.Error(), http.StatusBadGateway)
		return
	}
	for _, length := range result.lengths {
		fmt.Fprintln(writer, length)
	}
}

func background() {
	tick := time.Tick(50 * time.Millisecond)
	for n := 1; ; n++ {
		<-tick
		get(context.Background(), fmt.Sprintf("/background/%d", n))
	}
}

func main() {
	if os.Getenv("BACKGROUND") == "1" {
		go background()
	}
	http.HandleFunc("/relay", relay)
	panic(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}
