-- For wrk: posts the files that the words after `--` name, in turn, as the content type that is the first of them;
-- prints one line of JSON at the end. Latencies in microseconds.

local bodies, turn = {}, 0

function init(words)
   wrk.method = "POST"
   wrk.headers["Content-Type"] = words[1]
   for at = 2, #words do
      local file = assert(io.open(words[at], "rb"))
      bodies[#bodies + 1] = wrk.format(nil, nil, nil, file:read("*a"))
      file:close()
   end
end

function request()
   turn = turn % #bodies + 1
   return bodies[turn]
end

function done(summary, latency)
   local errors = summary.errors
   io.write(string.format(
      '\n{"requests": %d, "lasted": %d, "bad": %d, "p50": %d, "p99": %d}\n', summary.requests, summary.duration,
      errors.connect + errors.read + errors.write + errors.status + errors.timeout,
      latency:percentile(50), latency:percentile(99)))
end
