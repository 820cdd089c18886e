<?php
// A relay for PHP's built-in server, with curl: /relay?id=ID&n=K calls $BACKEND/out/ID/1 … K
// and answers with the length of each reply, one a line.
file_get_contents('php://input');
header('Content-Type: text/plain');
$handle = curl_init();
curl_setopt_array($handle, [CURLOPT_RETURNTRANSFER => true, CURLOPT_TIMEOUT => 60, CURLOPT_NOPROXY => '*']);
$lengths = '';
for ($k = 1; $k <= (int) ($_GET['n'] ?? 1); $k++) {
    curl_setopt($handle, CURLOPT_URL, getenv('BACKEND') . "/out/{$_GET['id']}/$k");
    $body = curl_exec($handle);
    if ($body === false) {
        http_response_code(502);
        $body = curl_error($handle);
    }
    $lengths .= strlen($body) . "\n";
}
echo $lengths;
