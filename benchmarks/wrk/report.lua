-- Prints the figures of a run as one line of JSON. It has no request(), so wrk sends one frozen request at full speed.
function done(summary, latency, requests)
   io.write(string.format(
      'RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "p50_us": %d, "p99_us": %d, "p999_us": %d, "max_us": %d, ' ..
      '"bad_status": %d, "bad_socket": %d}\n',
      summary.requests, summary.duration, summary.bytes,
      latency:percentile(50), latency:percentile(99), latency:percentile(99.9), latency.max,
      summary.errors.status,
      summary.errors.connect + summary.errors.read + summary.errors.write + summary.errors.timeout))
end
