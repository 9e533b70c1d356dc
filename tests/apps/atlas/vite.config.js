import vue from "@vitejs/plugin-vue"
import { defineConfig } from "vite"

export default defineConfig({
  plugins: [vue()],
  // Every picture and font a file of its own: the server is to be asked for them.
  build: { assetsInlineLimit: 0, sourcemap: true },
})
